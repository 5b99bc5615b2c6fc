"""Any map-style data set in Python, such as torchvision's and Hugging Face's, named as `python:MODULE:ATTRIBUTE`.

The attribute is a function that is called with "train" or "val", or a mapping with the two, and gives an object with
`__len__` and `__getitem__` -> (image, label), or a dict of the two. Each worker process imports the module for itself.
"""

import importlib
import operator
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from engine.config.write import SourceConfig
from engine.data.decode.library_warnings import library_warnings
from engine.data.sources.access.shards import check_label_numbers
from engine.data.sources.base import Content, Source, SourceKind, Split, UnusableImageError, printable
from engine.errors import UserError
from engine.progress import scanning

PREFIX = "python:"


@dataclass(frozen=True)
class MapStyleReader:
    """Reads images of the data set by number; each process makes the data set once."""

    spec: str
    key: str

    def read(self, place: int) -> Content:
        """Encoded bytes, a PIL image, or pixels. Raises UserError when the data set fails or gives something else."""
        image, _ = _item(_dataset(self.spec, self.key), place, self.where(place))
        if isinstance(image, Mapping):
            image = image.get("bytes")
        # As they are: what is odd in an image is for the conversion's rules.
        if isinstance(image, (bytes, Image.Image)):
            return image
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and _is_picture(image.shape):
            return np.ascontiguousarray(image)
        if image is None:
            raise UnusableImageError(f"cannot read {self.where(place)}: it holds no image")
        shape = f" of shape {tuple(image.shape)} and type {image.dtype}" if hasattr(image, "dtype") else ""
        raise UserError(
            f"{self.where(place)} is a {type(image).__name__}{shape}: give a PIL image, uint8 of shape (height, width, "
            f"3), or an image file's bytes, without transforms"
        )

    def where(self, place: int) -> str:
        """The data set's name and the image's number."""
        return f"item {place} of {self.spec} {self.key!r}"


def find(config: SourceConfig, split: Split) -> Source | None:
    """The split of the data set that `config.path` names; None when it is no such name.

    Raises UserError when it can't be imported, isn't such a data set, or gives labels that are no integers or a first
    image that can't be used.
    """
    if not config.path.startswith(PREFIX):
        return None
    key = config.train_folder if split == "train" else config.val_folder
    dataset = _dataset(config.path, key)
    reader = MapStyleReader(config.path, key)
    try:
        count = len(dataset)
    except TypeError:
        raise UserError(f"{config.path} {key!r} is a {type(dataset).__name__} without a length") from None
    if not count:
        raise UserError(f"{config.path} {key!r} is empty")
    with library_warnings() as said:
        decoded = not isinstance(_first(reader), bytes)
        labels = _labels(dataset, reader, count)
    notes = [
        f"{split}: {config.path} gives decoded images, which are encoded again; give the files' bytes to keep them"
    ]
    if said:
        notes.append(
            f"{split}: while its labels were read, {len(said):,} warnings were given, such as {said[0]}"
        )
    ids = [f"{split}/{index:07d}" for index in range(count)]
    return Source(
        kind="Python data set",
        classes=check_label_numbers(labels, _class_names(dataset, config.path), ids, config.path),
        labels=np.array(labels, np.int64),
        ids=ids,
        places=range(count),
        reader=reader,
        notes=tuple(notes[not decoded :]),
    )


KIND = SourceKind(
    name="python",
    help="python:MODULE:ATTRIBUTE, a map-style data set in Python",
    find=find,
)


@lru_cache(maxsize=2)
def _dataset(spec: str, key: str) -> Any:
    module, _, attribute = spec.removeprefix(PREFIX).partition(":")
    if not module or not attribute:
        raise UserError(f"source.path {spec} is not python:MODULE:ATTRIBUTE, such as python:my_data:splits")
    # A module of the user's lies where the command is run, which is not where write_dataset.py lies.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found(key) if callable(found) else found[key]
    # It is the user's code, which may fail in any way.
    except Exception as error:  # noqa: BLE001
        raise UserError(f"{spec} gives no data set for {key!r}: {_in_words(error)}") from None


def _is_picture(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (len(shape) == 2 or shape[2:] == (3,))


def _first(reader: MapStyleReader) -> Content:
    """The first image, to know of what form they are; empty where it can't be read, for which there is a rule."""
    try:
        return reader.read(0)
    except UnusableImageError:
        return b""


def _item(dataset: Any, index: int, where: str) -> tuple[Any, Any]:
    try:
        item = dataset[index]
    # Also the user's code.
    except Exception as error:  # noqa: BLE001
        raise UnusableImageError(f"cannot read {where}: {_in_words(error)}") from None
    if isinstance(item, Mapping):
        name = next((name for name in ("image", "img") if name in item), None)
        if name is not None and "label" in item:
            return item[name], item["label"]
    elif isinstance(item, Sequence) and len(item) == 2:
        return item[0], item[1]
    raise UserError(
        f"{where} is a {type(item).__name__}: give (image, label), or a dict with 'image' and 'label'"
    )


def _labels(dataset: Any, reader: MapStyleReader, count: int) -> list[int]:
    """All labels: the data set's own list of them, checked against a few items, or one pass over the items."""
    listed = _listed_labels(dataset)
    if listed is None:
        labels = []
        with scanning(f"the labels of {reader.spec}", count, "images") as progress:
            for index in range(count):
                labels.append(_integer(_item(dataset, index, reader.where(index))[1], reader.where(index)))
                progress.reach(index + 1)
        return labels
    labels = [_integer(label, reader.where(index)) for index, label in enumerate(listed)]
    if len(labels) != count:
        raise UserError(
            f"{reader.spec} {reader.key!r} has {count} items and {len(labels)} labels: correct it"
        )
    for index in {0, count // 2, count - 1}:
        try:
            item = _item(dataset, index, reader.where(index))
        except UnusableImageError:
            continue
        given = _integer(item[1], reader.where(index))
        if given != labels[index]:
            raise UserError(
                f"{reader.where(index)} has the label {given}, but its list of labels says {labels[index]}: correct it"
            )
    return labels


def _listed_labels(dataset: Any) -> list[Any] | None:
    for name in ("targets", "labels"):
        if hasattr(dataset, name):
            return list(getattr(dataset, name))
    if "label" in getattr(dataset, "column_names", ()):
        return list(dataset["label"])
    return None


def _integer(label: Any, where: str) -> int:
    try:
        if isinstance(label, bool):
            raise TypeError
        return operator.index(label)
    except TypeError:
        raise UserError(f"{where} has the label {label!r}: labels must be integers from 0") from None


def _class_names(dataset: Any, where: str) -> list[str] | None:
    names = getattr(dataset, "classes", None)
    if names is None:
        features = getattr(dataset, "features", None)
        names = getattr(features.get("label"), "names", None) if isinstance(features, Mapping) else None
    if names is None:
        return None
    # A string's letters are no names.
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UserError(
            f"{where} has {printable(repr(names))[:60]} as its class names: give a list of them, or none"
        )
    texts = [str(name) for name in names]
    # ImageNet has two classes called crane, a bird and a machine: their numbers are added.
    counts = Counter(texts)
    return [f"{text} ({label})" if counts[text] > 1 else text for label, text in enumerate(texts)]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
