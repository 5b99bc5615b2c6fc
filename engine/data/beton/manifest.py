"""What a .beton says about itself: class names, source ids, settings, versions, counts.

It is JSON, compressed and stored inside the .beton, between the last data page and ffcv's allocation table,
where stock ffcv never looks. It holds nothing that depends on the time, the machine's paths or the number of
workers, so that the same input and settings give the same bytes.
"""

import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of one split's file. Sequences follow the order of the file's samples or labels."""

    split: str
    """Which split: "train" or "val"."""
    classes: tuple[str, ...]
    """Label -> name."""
    ids: tuple[str, ...]
    """Sample -> where its image came from, such as "n01440764/n01440764_18.JPEG"."""
    source: str
    """The kind of source, such as "image folder"."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The conversion's options that decide the file's content."""
    versions: dict[str, str] = field(default_factory=dict)
    """Tool -> version."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many: "samples" in all, and by the name of their storage format, such as "jpeg"."""
    created_by: str = ""
    """The program that wrote the file."""
    order: str = "source"
    """How the samples lie in the file: "shuffled", "source", or "merged": as in the files that it was made of."""
    source_numbers: tuple[int, ...] = ()
    """Sample -> its number in the source's own order, of all images found there."""
    rules: dict[str, str] = field(default_factory=dict)
    """What was to become of odd images (RulesConfig), as text."""
    odd: dict[str, int] = field(default_factory=dict)
    """Kind of odd image (an option of RulesConfig) -> how many were met, stored or not."""
    rejects: tuple[tuple[str, str, str], ...] = ()
    """Images that were left out: (source id, kind, reason), in file order."""
    duplicates: tuple[tuple[str, str], ...] = ()
    """Images of the same content as one before: (source id, id of the first one), in file order."""
    shard: str = ""
    """Such as "2/8" in a file that holds only a part of its split."""
    digests: str = ""
    """In a shard: base64 of a digest for each image (engine.data.convert.duplicates), by which merging finds copies."""
    found: int = 0
    """In a shard: images of the whole split in its source; 0 in files from before this was noted."""
    found_digest: str = ""
    """In a shard: a hash of all their ids and labels, by which merging finds shards of different copies of a source."""
    license: str = ""
    """A note on the data's licence."""
    checksums: bool = False
    """Whether the file was written with a checksum for each record; files from before this was noted say no."""

    def to_bytes(self) -> bytes:
        """The manifest as compressed JSON, the same bytes for the same content."""
        # ASCII with escapes, so that file names that are no valid UTF-8 survive the round trip.
        content = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return zlib.compress(text.encode("utf-8"), level=6)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Read what `to_bytes` made; keys that a later version added are ignored.

        Raises ValueError when the bytes are not a manifest.
        """
        try:
            content = json.loads(zlib.decompress(data))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        known = {item.name for item in dataclasses.fields(cls)}
        values = {key: value for key, value in content.items() if key in known}
        for key in ("classes", "ids"):
            if not isinstance(values.get(key), list) or not all(isinstance(x, str) for x in values[key]):
                raise ValueError(f"{key} is not a list of names")
            values[key] = tuple(values[key])
        for key in ("source_numbers", "rejects", "duplicates"):
            values[key] = tuple(tuple(x) if isinstance(x, list) else x for x in values.get(key, ()))
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from None


def check_same_classes(
    train: Sequence[str], val: Sequence[str], where: str, names: tuple[str, str] = ("train", "val")
) -> None:
    """Raise UserError naming the first differences when the two lists (label -> name) differ.

    `where` says in the message whose lists these are, `names` what to call the two.
    """
    if list(train) == list(val):
        return
    in_train, in_val = set(train), set(val)
    only_train = [name for name in train if name not in in_val]
    only_val = [name for name in val if name not in in_train]
    if only_train or only_val:
        parts = [
            f"only in {split}: {_first(found)}"
            for split, found in zip(names, (only_train, only_val), strict=True)
            if found
        ]
        detail = "; ".join(parts)
    else:
        label = next(i for i, (a, b) in enumerate(zip(train, val, strict=True)) if a != b)
        detail = f"the order differs: label {label} is {train[label]!r} in {names[0]} and {val[label]!r} in {names[1]}"
    raise UserError(f"{names[0]} and {names[1]} have different classes in {where}: {detail}")


def check_same_source(first: Manifest, second: Manifest, where: str) -> None:
    """Raise UserError when two shards, `where` in words, were made of different copies of a data set: images that lie
    in both copies could be in neither shard.
    """
    if first.found_digest == second.found_digest:
        return
    detail = (
        f"that of the first has {first.found:,} images, that of the second {second.found:,}"
        if first.found != second.found
        else f"their {first.found:,} images have not the same ids or labels"
    )
    raise UserError(
        f"{where} were made of different copies of the data set: {detail}: convert both from the same one"
    )


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(repr(name) for name in names[:count]) + more
