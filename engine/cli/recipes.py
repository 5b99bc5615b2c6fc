"""`python -m engine recipes [NAME]`: the recipes as a table, or one recipe in full."""

from collections.abc import Sequence

from engine.config.command_line import CommandParser
from engine.config.installation import RECIPES
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE

_DESCRIPTION = """List the recipes of this repository as a table, or show one in full.

The page of a recipe shows its options that differ from the defaults, published figures and the command that starts
it."""


def main(argv: Sequence[str]) -> int:
    """Print the table, or the recipe that is named; returns 0. Raises UserError for an unknown name."""
    parser = CommandParser("python -m engine recipes", _DESCRIPTION, "[NAME] [--markdown]")
    parser.add_argument("name", nargs="?", metavar="NAME", help="recipe to show in full, by name or path")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    asked = parser.parse_args(argv)
    with importing():
        from engine.recipes.recipe_page import page
        from engine.recipes.shelf import find_recipe, read_shelf
        from engine.recipes.table import markdown, row_of, terminal

    recipes = read_shelf(RECIPES)
    if asked.name is not None:
        print(page(find_recipe(asked.name, recipes)))
        return EXIT_DONE
    rows = [row_of(recipe) for recipe in recipes]
    print(markdown(rows) if asked.markdown else terminal(rows))
    return EXIT_DONE
