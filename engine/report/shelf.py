"""The recipes that come with the source, loaded: what is drawn and listed of them is read here, never typed."""

from dataclasses import dataclass
from pathlib import Path

from engine.config.load import load_train_stages
from engine.config.schema import TrainConfig

_SUFFIX = "_configs"
# A recipe names no data, and none is opened here.
_DATA = ("--data.train_dataset=train.beton", "--data.val_dataset=val.beton")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A file of a folder `<family>_configs`, and the stages it trains in."""

    family: str
    name: str
    stages: tuple[TrainConfig, ...]


def read_shelf(root: Path) -> list[Recipe]:
    """Every recipe below `root`, sorted by folder and name; what others build on (base*.yaml) is none.

    Raises UserError for one that can't be used.
    """
    paths = sorted(root.glob(f"*{_SUFFIX}/*.yaml"), key=lambda path: (path.parent.name, _natural(path.stem)))
    return [_read(path) for path in paths if not path.stem.startswith("base")]


def _read(path: Path) -> Recipe:
    stages, name = load_train_stages(["-C", str(path), *_DATA])
    return Recipe(family=path.parent.name.removesuffix(_SUFFIX), name=name, stages=tuple(stages))


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which 16 comes before 150."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split("_")]
