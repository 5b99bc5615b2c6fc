"""One recipe of the shelf by its name or path, and where it lies."""

from collections.abc import Sequence
from pathlib import Path

from engine.errors import UserError
from engine.registry import nearest
from engine.report.shelf import Recipe

ROOT = Path(__file__).resolve().parents[2]


def path_of(recipe: Recipe) -> Path:
    """The recipe's file, relative to the repository's root."""
    return Path(f"{recipe.family}_configs") / f"{recipe.name}.yaml"


def find_recipe(name: str, recipes: Sequence[Recipe]) -> Recipe:
    """The recipe that `name` means: by its name, or its path. Raises UserError where there is none, or several."""
    paths = {path_of(recipe): recipe for recipe in recipes}
    found = [path for path in paths if name in (path.stem, str(path), str(path.with_suffix("")))]
    if len(found) > 1:
        raise UserError(f"{name!r} is the name of several recipes: write one of {', '.join(map(str, found))}")
    if not found:
        hint = nearest(name, [path.stem for path in paths])
        raise UserError(f"no recipe {name!r}{hint}; `python -m engine recipes` lists them")
    return paths[found[0]]
