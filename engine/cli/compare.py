"""`python -m engine compare RUN...`: runs side by side: accuracy, time and pace, and the options that differ."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError, describe_os_error
from engine.files import atomic_write

_DESCRIPTION = """Compare runs side by side: accuracy, time, images per second, and the options that differ.

Unfinished runs and runs of several stages can be compared too. --html also writes a page with curves of accuracy
against time, epochs and images."""

_UNLIMITED = 10**6


def main(argv: Sequence[str]) -> int:
    """Print the comparison and write the page if asked to; returns 0. Raises UserError for a folder without a run."""
    parser = CommandParser("python -m engine compare", _DESCRIPTION, "RUN... [--html FILE]")
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, such as runs/NAME"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with the curves to FILE")
    asked = parser.parse_args(argv)
    with importing():
        from engine.report.compare.compare_page import render
        from engine.report.compare.compare_rows import measure_rows, option_rows, tables
        from engine.report.compare.compared_run import read_runs, unlike

    runs = read_runs(asked.runs)
    # A pipe or a file has no width.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    different = option_rows(runs)
    title = "options that differ" if different else "no option differs"
    groups = [("", measure_rows(runs)), (title, different)]
    # Before the tables: who reads only the first lines (| head) ends the command there.
    if asked.html:
        _write(asked.html, render(runs))
    print(tables([run.name for run in runs], groups, width))
    if different_data := unlike(runs):
        print(f"\nwarning: {different_data}")
    if asked.html:
        print(f"\n{asked.html}")
    return EXIT_DONE


def _write(path: Path, page: str) -> None:
    if path.is_dir():
        raise UserError(f"--html {path} is a folder: name a file in it")
    try:
        with atomic_write(path) as file:
            file.write(page.encode())
    except OSError as error:
        raise describe_os_error(error, path, "write") from None
