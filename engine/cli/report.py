"""`python -m engine report RUN`: draw a run's report.html again from its configuration and log."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.files import atomic_write
from engine.report.run.run_page import render
from engine.runs.folder import CONFIG, LOG, REPORT, stages_with
from engine.runs.log_reader import read_config, read_log


def main(argv: Sequence[str]) -> int:
    """Draw a run folder's report.html anew; of a run of several stages, each stage's. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m engine report", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="run folder: the one with config.yaml and log.jsonl")
    folder = parser.parse_args(argv).folder
    for one in stages_with(folder, CONFIG) or [folder]:
        _draw_anew(one)
    return 0


def _draw_anew(folder: Path) -> None:
    config = read_config(folder / CONFIG)
    lines, unreadable = read_log(folder / LOG)
    if unreadable:
        print(f"note: {unreadable} line(s) of {folder / LOG} are not whole and were left out")
    with atomic_write(folder / REPORT) as file:
        file.write(render(config, lines).encode())
    print(folder / REPORT)
