"""`python -m engine schedules`: draw the learning rate, resolution and batch size by epoch of every recipe."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError
from engine.recipes.schedule_pictures import write_pictures
from engine.recipes.shelf import ROOT, read_shelf


def main(argv: Sequence[str]) -> int:
    """Draw the schedules and say where. Raises UserError for a folder that is not there, or a recipe that is wrong."""
    parser = argparse.ArgumentParser(prog="python -m engine schedules", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "docs" / "assets",
        help="folder for the SVGs (default: docs/assets)",
    )
    folder = parser.parse_args(argv).output
    if not folder.is_dir():
        raise UserError(f"--output {folder} is no folder: make it, or name another")
    shelf = read_shelf(ROOT)
    for path in write_pictures(folder, shelf):
        drawn = sum(f"schedules_{recipe.family}.svg" == path.name for recipe in shelf)
        print(f"{path}: {drawn} recipes")
    return 0
