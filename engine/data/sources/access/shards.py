"""Data sets in shards, such as `train-000.tar` or `data/validation-00001-of-00014.parquet`: which are a split's."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location, locate
from engine.data.sources.access.part_numbers import refuse_missing_parts
from engine.data.sources.base import Split, printable
from engine.errors import UserError

# Where Hugging Face's hub has them below a data set's folder.
FOLDER = "data"

# More than this is no count of classes but a hash or an id.
_MOST_CLASSES = 1_000_000

_CLASS_LISTS = ("classes.txt", "class_names.txt", "classnames.txt")


@dataclass(frozen=True)
class Shards:
    """One split's files."""

    folder: Location
    """The innermost one that holds them all."""
    names: tuple[str, ...]
    """Their paths below it, sorted."""
    notes: tuple[str, ...] = ()
    """Of the training split: a note about files that are of neither split."""

    def __iter__(self) -> Iterator[Location]:
        return (self.folder / name for name in self.names)


def find_shards(config: SourceConfig, split: Split, ending: str) -> Shards | None:
    """The split's shards with this ending; None when `config.path` holds none of either split.

    The path is a folder, one shard, or a pattern with `*`, `?`, `{000..009}` or `{a,b}`. A shard is of the split
    whose folder option (train_folder, val_folder) begins a word of its name, or else of its folder's name. Raises
    UserError when there are shards, but none of this split, or when their names say that some are missing.
    """
    every = _with_ending(config, split, ending)
    if not every:
        return None
    paths = sorted({shard.path for shard in every if _split_of(shard, config) == split})
    if not paths:
        raise UserError(
            f"none of the {len(every)} *{ending} files of {locate(config)} has {_folder_name(config, split)!r} in its "
            f"name, such as {printable(every[0].name)}: pass --source.{split}_folder=NAME, the word that begins the "
            f"names of the split's files"
        )
    if config.check_counts:
        both = [shard.path for one in get_args(Split) for shard in _with_ending(config, one, ending)]
        refuse_missing_parts(paths, both)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = tuple(os.path.relpath(path, folder or ".") for path in paths)
    others = sorted(shard.name for shard in every if _split_of(shard, config) is None)
    if split != "train" or not others:
        return Shards(every[0].at(folder), names)
    note = f"ignored {len(others)} *{ending} files of neither train nor val, such as {printable(others[0])}"
    return Shards(every[0].at(folder), names, (note,))


def listed_class_names(config: SourceConfig, shards: Shards) -> list[str] | None:
    """Class names, a line each, from a classes.txt or class_names.txt beside the shards or in the folder `config.path`.

    None where there is none. Raises UserError for an empty or repeated name, and for two lists that differ.
    """
    path = locate(config)
    found: list[tuple[Location, list[str]]] = []
    for folder in dict.fromkeys((shards.folder, *([path] if path.kind() == "folder" else []))):
        there = {entry.name for entry in folder.entries()}
        found += [(folder / name, _class_names(folder / name)) for name in _CLASS_LISTS if name in there]
    for place, names in found[1:]:
        if names != found[0][1]:
            raise UserError(
                f"{found[0][0]} and {place} are not the same list of class names: remove the wrong one"
            )
    return found[0][1] if found else None


def _class_names(place: Location) -> list[str]:
    try:
        names = [line.strip() for line in place.read().decode("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError:
        raise UserError(f"{place} is not a text file: write one class name a line") from None
    if not names or not all(names) or len(set(names)) < len(names):
        raise UserError(f"{place} is empty, has an empty line or a name twice: write one class name a line")
    return names


def _with_ending(config: SourceConfig, split: Split, ending: str) -> list[Location]:
    return [shard for shard in _all(config, split) if shard.name.endswith(ending) and shard.name[0] != "."]


def _all(config: SourceConfig, split: Split) -> list[Location]:
    path = locate(config)
    kind = path.kind()
    if kind == "file":
        return [path]
    if kind == "missing":
        return _matches(path) if re.search(r"[*?{\[]", path.path) else []
    own = _folder_name(config, split)
    inside = path.entries()
    if own and any(entry.name == own and entry.is_folder for entry in inside):
        entries = (path / own).entries()
        # Class folders with a tar beside them are an image folder all the same.
        if any(entry.is_folder and entry.name[0] != "." for entry in entries):
            return []
        return [path / own / entry.name for entry in entries]
    found = [path / entry.name for entry in inside if not entry.is_folder]
    if any(entry.name == FOLDER and entry.is_folder for entry in inside):
        found += [path / FOLDER / entry.name for entry in (path / FOLDER).entries() if not entry.is_folder]
    return found


def _folder_name(config: SourceConfig, split: Split) -> str:
    return config.train_folder if split == "train" else config.val_folder


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
    return named_split(shard.name, config) or named_split(shard.parent.name, config)


def named_split(text: str, config: SourceConfig) -> Split | None:
    """The split whose name (train_folder, val_folder) begins a word of this text; None where it is not just one."""
    names = {split: _folder_name(config, split).lower() for split in get_args(Split)}
    found: list[Split] = [
        split
        for split, name in names.items()
        if name and re.search(f"(?<![a-z]){re.escape(name)}", text.lower())
    ]
    return found[0] if len(found) == 1 else None


def check_label_numbers(
    labels: Sequence[int], names: list[str] | None, ids: Sequence[str], where: str
) -> list[str]:
    """The class names: `names`, or else the numbers up to the largest label.

    Raises UserError for a name that is there twice, and for a label that is negative or has no name, naming a sample of
    `ids`.
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
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UserError(f"{where} has the class name {twice!r} twice: give each class another name")
    if largest >= len(names):
        index = labels.index(largest)
        raise UserError(
            f"{printable(ids[index])} in {where} has the label {largest}, but there are {len(names)} class names: "
            f"correct the list or the label"
        )
    return names
