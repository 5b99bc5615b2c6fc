"""`python -m engine report RUN`: draw a run's report.html again from its configuration and log."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.config.stages import stage_folder
from engine.files import atomic_write
from engine.report.run.run_page import read_config, render
from engine.runs.log_reader import read_log


def main(argv: Sequence[str]) -> int:
    """Draw a run folder's report.html anew; of a run of several stages, each stage's. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m engine report", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="run folder: the one with config.yaml and log.jsonl")
    folder = parser.parse_args(argv).folder
    begun = sorted(path.parent for path in folder.glob(f"{stage_folder('*')}/config.yaml"))
    for one in begun or [folder]:
        _draw_anew(one)
    return 0


def _draw_anew(folder: Path) -> None:
    config = read_config(folder / "config.yaml")
    lines, unreadable = read_log(folder / "log.jsonl")
    if unreadable:
        print(f"notice: {unreadable} line(s) of {folder / 'log.jsonl'} are not whole and were left out")
    with atomic_write(folder / "report.html") as file:
        file.write(render(config, lines).encode())
    print(folder / "report.html")
