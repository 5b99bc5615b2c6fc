"""Which recipes the repository has: each YAML of its *_configs/ folders but base.yaml, read with all its stages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.load import load_train_stages
from engine.config.schema import TrainConfig
from engine.errors import UserError
from engine.registry import nearest

ROOT = Path(__file__).resolve().parents[2]

# A configuration names its data; a recipe leaves that to whoever starts it.
TRAIN, VAL = "DATA/train.beton", "DATA/val.beton"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe on the shelf; `path` is relative to the repository's root."""

    path: Path
    stages: tuple[TrainConfig, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def recipe_files(root: Path = ROOT) -> list[Path]:
    """Every recipe's file, relative to `root`: folder by folder, and by name, in which 16 comes before 100."""
    files = [path.relative_to(root) for path in root.glob("*_configs/*.yaml") if path.name != "base.yaml"]
    return sorted(files, key=lambda path: (path.parent, _natural(path.stem)))


def read_recipe(path: Path, root: Path = ROOT) -> Recipe:
    """The recipe of that file. Raises UserError for one that can't be used."""
    data = [f"--data.train_dataset={TRAIN}", f"--data.val_dataset={VAL}"]
    stages, _ = load_train_stages(["-C", str(root / path), *data])
    return Recipe(path=path, stages=tuple(stages))


def find_recipe(name: str, files: Sequence[Path]) -> Path:
    """The file that `name` means: a recipe's name, or its path. Raises UserError where there is none, or several."""
    found = [path for path in files if name in (path.stem, str(path), str(path.with_suffix("")))]
    if len(found) > 1:
        raise UserError(f"{name!r} is the name of several recipes: write one of {', '.join(map(str, found))}")
    if not found:
        hint = nearest(name, [path.stem for path in files])
        raise UserError(f"no recipe {name!r}{hint}; `python -m engine recipes` lists them")
    return found[0]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within names by their value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.findall(r"\d+|\D+", name)]
