"""`python -m engine report RUN`: draw a run's report.html again from its configuration and log."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE
from engine.files import atomic_write

_DESCRIPTION = """Draw a run's report.html again from its config.yaml and log.jsonl.

For a run of several stages each stage's report is drawn."""


def main(argv: Sequence[str]) -> int:
    """Draw report.html of a run's folder or of each of its stages; returns 0. Raises UserError."""
    parser = CommandParser("python -m engine report", _DESCRIPTION, "RUN")
    parser.add_argument(
        "folder", type=Path, metavar="RUN", help="folder of the run, with config.yaml and log.jsonl"
    )
    folder = parser.parse_args(argv).folder
    with importing():
        from engine.config.stages import stage_folder

    begun = sorted(path.parent for path in folder.glob(f"{stage_folder('*')}/config.yaml"))
    for one in begun or [folder]:
        _draw_again(one)
    return EXIT_DONE


def _draw_again(folder: Path) -> None:
    with importing():
        from engine.report.run.run_page import read_config, render
        from engine.runs.log_reader import read_log

    config = read_config(folder / "config.yaml")
    lines, unreadable = read_log(folder / "log.jsonl")
    if unreadable:
        print(f"note: left out {unreadable} incomplete line(s) of {folder / 'log.jsonl'}")
    with atomic_write(folder / "report.html") as file:
        file.write(render(config, lines).encode())
    print(folder / "report.html")
