"""A recipe is found by its name, or by where it lies."""

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.recipes.shelf import Recipe, find_recipe, path_of
from tests.recipes.shelf import SHELF

TWINS = [
    Recipe(family=family, name=name, stages=SHELF[0].stages)
    for family, name in (("a", "x_16"), ("b", "x_16"), ("b", "x_100"))
]


def test_every_recipe_has_its_path(repository: Path) -> None:
    files = {path.relative_to(repository) for path in repository.glob("*_configs/*.yaml")}
    paths = {path_of(recipe) for recipe in SHELF}
    assert paths == {path for path in files if path.name != "base.yaml"}


def test_recipe_is_found_by_name_and_by_path() -> None:
    assert find_recipe("x_100", TWINS) is TWINS[2]
    assert find_recipe("b_configs/x_16", TWINS) is find_recipe("b_configs/x_16.yaml", TWINS) is TWINS[1]


def test_unknown_or_ambiguous_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"write one of a_configs/x_16\.yaml, b_configs/x_16\.yaml"):
        find_recipe("x_16", TWINS)
    with pytest.raises(UserError, match=r"no recipe 'x_10'.*did you mean 'x_100'"):
        find_recipe("x_10", TWINS)
