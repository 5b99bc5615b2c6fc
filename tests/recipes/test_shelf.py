"""Recipes are found where they lie: every YAML but base.yaml, by name or by path."""

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.recipes.shelf import find_recipe, recipe_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in (
        "b_configs/base.yaml",
        "b_configs/x_100.yaml",
        "b_configs/x_16.yaml",
        "a_configs/x_16.yaml",
        "docs/x_1.yaml",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_files_come_by_folder_and_by_number(root: Path) -> None:
    found = [str(path) for path in recipe_files(root)]
    assert found == ["a_configs/x_16.yaml", "b_configs/x_16.yaml", "b_configs/x_100.yaml"]


def test_a_recipe_is_found_by_name_and_by_path(root: Path) -> None:
    files = recipe_files(root)
    assert find_recipe("x_100", files) == Path("b_configs/x_100.yaml")
    assert find_recipe("a_configs/x_16", files) == find_recipe("a_configs/x_16.yaml", files) == files[0]


def test_a_name_that_is_none_or_several_is_refused(root: Path) -> None:
    files = recipe_files(root)
    with pytest.raises(UserError, match=r"write one of a_configs/x_16\.yaml, b_configs/x_16\.yaml"):
        find_recipe("x_16", files)
    with pytest.raises(UserError, match=r"no recipe 'x_10'.*did you mean 'x_100'"):
        find_recipe("x_10", files)
