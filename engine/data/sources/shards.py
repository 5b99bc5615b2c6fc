"""Data sets in shards, such as `train-000.tar` or `data/validation-00001-of-00014.parquet`: which are a split's."""

import re
from collections.abc import Sequence

from engine.config.write_schema import SourceConfig
from engine.data.sources.base import Split, printable
from engine.data.sources.location import Location, locate
from engine.errors import UserError

# Where shards lie below the data set's folder, besides the split's own folder.
_FOLDERS = (".", "data")

# More than this is no count of classes but a hash or an id.
_MOST_CLASSES = 1_000_000

_CLASS_LISTS = ("classes.txt", "class_names.txt", "classnames.txt")


def find_shards(config: SourceConfig, split: Split, ending: str) -> list[Location]:
    """The split's shards with this ending, by name; empty when `config.path` holds none of either split.

    The path is a folder, one shard, or a pattern with `*`, `?`, `{000..009}` or `{a,b}`. A shard is of the split
    whose folder option (train_folder, val_folder) begins a word of its name, or else of its folder's name. Raises
    UserError when there are shards, but none of this split.
    """
    every = [shard for shard in _all(config) if shard.name.endswith(ending) and shard.name[0] != "."]
    if not every:
        return []
    mine = [shard for shard in every if _split_of(shard, config) == split]
    if not mine:
        name = config.train_folder if split == "train" else config.val_folder
        raise UserError(
            f"none of the {len(every)} *{ending} files of {config.path} has {name!r} in its name, such as "
            f"{every[0].name}: pass --source.{split}_folder=NAME, the word that begins the split's files"
        )
    return sorted(mine, key=lambda shard: shard.path)


def listed_class_names(folder: Location) -> list[str] | None:
    """Class names, a line each, from a classes.txt or class_names.txt in a folder; None where there is none."""
    there = {entry.name for entry in folder.entries()}
    for name in _CLASS_LISTS:
        if name in there:
            try:
                names = (folder / name).read().decode("utf-8-sig").splitlines()
            except UnicodeDecodeError:
                raise UserError(f"{folder / name} is not a text file: write one class name a line") from None
            while names and not names[-1].strip():
                names.pop()
            if not names or not all(line.strip() for line in names) or len(set(names)) < len(names):
                raise UserError(
                    f"{folder / name} is empty, has an empty line or a name twice: one name a line"
                )
            return [line.strip() for line in names]
    return None


def _all(config: SourceConfig) -> list[Location]:
    path = locate(config)
    if path.kind() == "file":
        return [path]
    if path.kind() == "missing":
        return _matches(path) if re.search(r"[*?{\[]", path.path) else []
    names = {entry.name for entry in path.entries() if entry.is_folder}
    wanted = [name for name in (*_FOLDERS, config.train_folder, config.val_folder) if name in names]
    folders = [path, *(path / name for name in wanted)]
    return [folder / one.name for folder in folders for one in folder.entries() if not one.is_folder]


def _matches(path: Location) -> list[Location]:
    found: list[Location] = []
    for pattern in _expanded(path.path):
        matches = path.at(pattern).matches()
        if not matches:
            raise UserError(f"no file matches {path.at(pattern)}, of {path}: check source.path")
        found += matches
    return found


def _expanded(pattern: str) -> list[str]:
    """A pattern's braces written out: `{000..009}` keeps its zeros, `{a,b}` is either; `*` and `?` stay."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", braces[1])
    if span:
        numbers = range(int(span[1]), int(span[2]) + 1)
        words = [str(number).zfill(len(span[1])) for number in numbers]
    else:
        words = braces[1].split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [one for word in words for one in _expanded(before + word + after)]


def _split_of(shard: Location, config: SourceConfig) -> Split | None:
    names: dict[Split, str] = {"train": config.train_folder.lower(), "val": config.val_folder.lower()}
    for text in (shard.name.lower(), shard.parent.name.lower()):
        found = [
            split for split, name in names.items() if name and re.search(f"(?<![a-z]){re.escape(name)}", text)
        ]
        if len(found) == 1:
            return found[0]
    return None


def check_label_numbers(
    labels: Sequence[int], names: list[str] | None, ids: Sequence[str], where: str
) -> list[str]:
    """The class names: `names`, or else the numbers up to the largest label.

    Raises UserError, naming a sample of `ids`, for a label that is negative or has no name.
    """
    largest = max(labels)
    if min(labels) < 0:
        index = labels.index(min(labels))
        raise UserError(
            f"{printable(ids[index])} in {where} has the label {labels[index]}: labels start at 0"
        )
    if names is None:
        if largest >= _MOST_CLASSES:
            raise UserError(
                f"{printable(ids[labels.index(largest)])} in {where} has the label {largest}: put a classes.txt there"
            )
        return [str(label) for label in range(largest + 1)]
    if largest >= len(names):
        index = labels.index(largest)
        raise UserError(
            f"{printable(ids[index])} in {where} has the label {largest}, but there are {len(names)} class names: "
            f"correct the list or the label"
        )
    return names
