"""The recipes of this repository, loaded from their files, and one of them by name or path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.load import load_train_stages
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.registry import nearest

_SUFFIX = "_configs"
# A recipe names no data files, but a configuration needs them; they are not opened.
_DATA = ("--data.train_dataset=train.beton", "--data.val_dataset=val.beton")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A file in a folder `<family>_configs`, and the configurations of its stages."""

    family: str
    name: str
    stages: tuple[TrainConfig, ...]


def read_shelf(root: Path) -> list[Recipe]:
    """Every recipe below `root`, sorted by folder and name, except the bases of others (base*.yaml).

    Raises UserError for a recipe that can't be loaded.
    """
    paths = sorted(root.glob(f"*{_SUFFIX}/*.yaml"), key=lambda path: (path.parent.name, _natural(path.stem)))
    return [_read(path) for path in paths if not path.stem.startswith("base")]


def _read(path: Path) -> Recipe:
    stages, name = load_train_stages(["-C", str(path), *_DATA])
    return Recipe(family=path.parent.name.removesuffix(_SUFFIX), name=name, stages=tuple(stages))


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key that puts 16 before 150."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split("_")]


def path_of(recipe: Recipe) -> Path:
    """The recipe's file, relative to the repository's root."""
    return Path(f"{recipe.family}_configs") / f"{recipe.name}.yaml"


def find_recipe(name: str, recipes: Sequence[Recipe]) -> Recipe:
    """The recipe with this name or path. Raises UserError if there is none, or more than one."""
    paths = {path_of(recipe): recipe for recipe in recipes}
    found = [path for path in paths if name in (path.stem, str(path), str(path.with_suffix("")))]
    if len(found) > 1:
        raise UserError(
            f"{name!r} is the name of several recipes: choose one of {', '.join(map(str, found))}"
        )
    if not found:
        hint = nearest(name, [path.stem for path in paths])
        raise UserError(f"unknown recipe {name!r}{hint}; `python -m engine recipes` lists all")
    return paths[found[0]]
