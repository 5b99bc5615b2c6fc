"""What the tests of the shelf share: all of it, a recipe by name, a configuration of a few options."""

from typing import Any

from engine.config.installation import RECIPES
from engine.config.load import load_train_stages
from engine.config.train.train_config import TrainConfig
from engine.recipes.shelf import Recipe, find_recipe, read_shelf

SHELF = read_shelf(RECIPES)


def named(name: str) -> Recipe:
    """A recipe on the shelf."""
    return find_recipe(name, SHELF)


def config(**options: Any) -> TrainConfig:
    """A configuration of these options, written section__option."""
    given = [f"--{key.replace('__', '.')}={value}" for key, value in options.items()]
    return load_train_stages(["--data.train_dataset=a", "--data.val_dataset=b", *given])[0][0]


def untied(text: str) -> str:
    """Cells keep some words together, which the printed table no longer shows."""
    return text.replace("\N{NO-BREAK SPACE}", " ")
