"""`python -m engine compare RUN...`: runs side by side: accuracies, time and pace, and where their recipes differ.

With --html a page as well, with accuracy against time, epochs and images. Runs that have not ended yet, or that have
several stages, can be compared too.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.report.compare.compare_page import render
from engine.report.compare.compare_rows import measure_rows, option_rows, tables
from engine.report.compare.compared_run import read_runs

_UNLIMITED = 10**6


def main(argv: Sequence[str]) -> int:
    """Print the comparison and, if asked to, write the page. Raises UserError for a folder that is no run."""
    parser = argparse.ArgumentParser(prog="python -m engine compare", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder, as in runs/NAME")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the curves as well")
    asked = parser.parse_args(argv)
    runs = read_runs(asked.runs)
    # Whoever reads it from a pipe or a file has no width.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    different = option_rows(runs)
    title = "options that differ" if different else "no option differs"
    groups = [("", measure_rows(runs)), (title, different)]
    print(tables([run.name for run in runs], groups, width))
    if asked.html:
        _write(asked.html, render(runs))
        print(f"\n{asked.html}")
    return 0


def _write(path: Path, page: str) -> None:
    if path.is_dir():
        raise UserError(f"--html {path} is a folder: name a file in it")
    try:
        with atomic_write(path) as file:
            file.write(page.encode())
    except OSError as error:
        raise describe_os_error(error, path, "write") from None
