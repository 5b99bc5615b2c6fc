"""`python -m engine schedules`: draw the learning rate, resolution and batch size by epoch of every recipe."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.config.installation import RECIPES, SOURCE
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError

_DESCRIPTION = """Draw learning rate, resolution and batch size by epoch of every recipe, as one SVG per folder of
recipes."""


def main(argv: Sequence[str]) -> int:
    """Draw the schedules and print the files; returns 0. Raises UserError for a missing folder or a wrong recipe."""
    parser = CommandParser("python -m engine schedules", _DESCRIPTION, "[--output DIR]")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for the SVGs [default: docs/assets]",
    )
    folder = parser.parse_args(argv).output
    with importing():
        from engine.recipes.schedule_pictures import write_pictures
        from engine.recipes.shelf import read_shelf

    folder = folder or SOURCE / "docs" / "assets"
    if not folder.is_dir():
        raise UserError(f"--output {folder} is not a folder: create it, or choose another")
    shelf = read_shelf(RECIPES)
    for path in write_pictures(folder, shelf):
        drawn = sum(f"schedules_{recipe.family}.svg" == path.name for recipe in shelf)
        print(f"{path}: {drawn} recipes")
    return EXIT_DONE
