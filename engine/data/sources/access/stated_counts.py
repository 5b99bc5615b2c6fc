"""What files beside a data set's shards state about it: how many images and files each split has.

Hugging Face: `splits` of dataset_info.json, dataset_infos.json and of the head of README.md. WebDataset: the index of
its `wids` (`shardlist`), timm's _info.json (`splits`), open_clip's sizes.json, CLIP_benchmark's nshards.txt.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Location
from engine.data.sources.access.part_numbers import ADVICE
from engine.data.sources.access.shards import FOLDER, Shards, named_split
from engine.data.sources.base import Split, printable
from engine.errors import UserError

# None of these files has more; the size is asked before the file is read.
_MOST_BYTES = 64 * 2**20

_NAMES = (
    "dataset_info.json",
    "dataset_infos.json",
    "README.md",
    "_info.json",
    "info.json",
    "sizes.json",
    "nshards.txt",
)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What one file says of a split."""

    images: int | None = None
    files: int | None = None
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    """File name -> images in it, None where only the name is given."""


def refuse_other_counts(config: SourceConfig, split: Split, shards: Shards, counts: Sequence[int]) -> None:
    """Raises UserError where a file beside the shards states other files or counts; `counts` are the shards' images."""
    if not config.check_counts:
        return
    found = {name.rpartition("/")[2]: count for name, count in zip(shards.names, counts, strict=True)}
    for place, stated in _statements(config, split, shards):
        missing = [name for name in stated.sizes if name not in found]
        if missing:
            raise UserError(
                f"{place} lists {len(stated.sizes):,} files of {split}, of which {len(missing):,} are missing in "
                f"{shards.folder}, such as {printable(missing[0])}: get them, {ADVICE}"
            )
        for name, size in stated.sizes.items():
            if size not in (None, found[name]):
                raise UserError(
                    f"{place} states {size:,} images in {printable(name)}, and it has {found[name]:,}: get it again, "
                    f"{ADVICE}"
                )
        for what, number, there in (
            ("files", stated.files, len(counts)),
            ("images", stated.images, sum(counts)),
        ):
            if number not in (None, there):
                raise UserError(
                    f"{place} states {number:,} {what} of {split}, and {shards.folder} has {there:,}: get the data set "
                    f"again, {ADVICE}"
                )


def _statements(config: SourceConfig, split: Split, shards: Shards) -> Iterator[tuple[Location, Stated]]:
    own = shards.folder
    for folder in (own, own.parent):
        try:
            entries = sorted(folder.entries())
        # Of the folder above nothing has been asked for.
        except UserError:
            continue
        # There it may be about others: then only what it says of this folder counts.
        is_whole = folder == own or own.name in (FOLDER, config.train_folder, config.val_folder)
        for entry in entries:
            place = folder / entry.name
            if entry.is_folder or not _may_state(entry.name, shards) or place.size() > _MOST_BYTES:
                continue
            content = _content(place)
            for stated in (
                _of_files(content, place, config, split) if is_whole else None,
                _of_splits(content, config, split, "" if is_whole else own.name),
                _of_number(content, place, config, split),
            ):
                if stated is not None:
                    yield place, stated


def _may_state(name: str, shards: Shards) -> bool:
    """Whether a file's name is one of these, or that of the shards without their numbers, as `wids` has it."""
    stem, _, ending = name.rpartition(".")
    first = shards.names[0].rpartition("/")[2]
    return name in _NAMES or (
        ending == "json" and first.startswith(stem) and stem != first.rpartition(".")[0]
    )


def _content(place: Location) -> Any:
    """A file's JSON, the YAML at the head of README.md; None for what is neither."""
    text = place.read().decode("utf-8", "replace")
    try:
        if place.name != "README.md":
            return json.loads(text)
        head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        return yaml.safe_load(head[1])["dataset_info"] if head else None
    except (ValueError, RecursionError, yaml.YAMLError, KeyError, TypeError):
        return None


def _of_files(content: Any, place: Location, config: SourceConfig, split: Split) -> Stated | None:
    """A list of shards, or their sizes by name."""
    listed = content.get("shardlist") if isinstance(content, dict) else None
    if isinstance(listed, list):
        content = {str(one.get("url")): one.get("nsamples") for one in listed if isinstance(one, dict)}
    elif place.name != "sizes.json" or not isinstance(content, dict):
        return None
    sizes = {str(name).rpartition("/")[2]: _count(size) for name, size in content.items()}
    around = named_split(place.name, config) or named_split(place.parent.name, config)
    return Stated(
        sizes={name: size for name, size in sizes.items() if (named_split(name, config) or around) == split}
    )


def _of_splits(content: Any, config: SourceConfig, split: Split, subset: str) -> Stated | None:
    """`splits` with counts by name; of several subsets that of this name, or the only one where it is empty."""
    if isinstance(content, dict) and "splits" not in content:
        content = [{"config_name": name, **one} for name, one in content.items() if isinstance(one, dict)]
    every = [one for one in (content if isinstance(content, list) else [content]) if isinstance(one, dict)]
    infos = [one for one in every if one.get("config_name") == subset] if subset else every
    splits = infos[0].get("splits") if len(infos) == 1 else None
    if isinstance(splits, dict):
        splits = [{"name": name, **one} for name, one in splits.items() if isinstance(one, dict)]
    if not isinstance(splits, list):
        return None
    named = [
        one for one in splits if isinstance(one, dict) and named_split(str(one.get("name")), config) == split
    ]
    if len(named) != 1:
        return None
    names, sizes = (named[0].get(key) for key in ("filenames", "shard_lengths"))
    names = names if isinstance(names, list) else []
    sizes = sizes if isinstance(sizes, list) and len(sizes) == len(names) else [None] * len(names)
    return Stated(
        images=_count(named[0].get("num_examples", named[0].get("num_samples"))),
        sizes={str(name).rpartition("/")[2]: _count(size) for name, size in zip(names, sizes, strict=True)},
    )


def _of_number(content: Any, place: Location, config: SourceConfig, split: Split) -> Stated | None:
    is_own = place.name == "nshards.txt" and named_split(place.parent.name, config) == split
    return Stated(files=_count(content)) if is_own else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
