"""`python -m engine report RUN`: draw a run's report.html again from its configuration and log."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE
from engine.files import atomic_write
from engine.runs.folder import CONFIG, LOG, REPORT, stages_with

_DESCRIPTION = """Draw a run's report.html again from its config.yaml and log.jsonl.

For a run of several stages each stage's report is drawn."""


def main(argv: Sequence[str]) -> int:
    """Draw report.html of a run's folder or of each of its stages; returns 0. Raises UserError."""
    parser = CommandParser("python -m engine report", _DESCRIPTION, "RUN")
    parser.add_argument(
        "folder", type=Path, metavar="RUN", help="folder of the run, with config.yaml and log.jsonl"
    )
    folder = parser.parse_args(argv).folder
    for one in stages_with(folder, CONFIG) or [folder]:
        _draw_again(one)
    return EXIT_DONE


def _draw_again(folder: Path) -> None:
    with importing():
        from engine.report.run.run_page import render
        from engine.runs.log_reader import read_config, read_log

    config = read_config(folder / CONFIG)
    lines, unreadable = read_log(folder / LOG)
    if unreadable:
        print(f"note: {unreadable} line(s) of {folder / LOG} are incomplete and were left out")
    with atomic_write(folder / REPORT) as file:
        file.write(render(config, lines).encode())
    print(folder / REPORT)
