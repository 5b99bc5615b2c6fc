"""`python -m engine recipes [NAME]`: the shelf of recipes as a table, or one recipe in full."""

import argparse
from collections.abc import Sequence

from engine.recipes.recipe_page import page
from engine.recipes.shelf import ROOT, find_recipe, read_shelf
from engine.recipes.table import markdown, row_of, terminal


def main(argv: Sequence[str]) -> int:
    """Print the table, or the recipe that is named; 0 when done. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m engine recipes", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a recipe to show in full")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    asked = parser.parse_args(argv)
    recipes = read_shelf(ROOT)
    if asked.name is not None:
        print(page(find_recipe(asked.name, recipes)))
        return 0
    rows = [row_of(recipe) for recipe in recipes]
    print(markdown(rows) if asked.markdown else terminal(rows))
    return 0
