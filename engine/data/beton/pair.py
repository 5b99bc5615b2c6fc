"""A training and a validation file that belong together: the same classes under the same numbers.

What data a file holds, in a few words that change when they do: a run that goes on has to go on with the same.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.data.beton.checks import largest_gap
from engine.data.beton.checksum import crc32
from engine.data.beton.manifest import check_same_classes
from engine.data.beton.reader import Beton
from engine.errors import UserError


@dataclass(frozen=True)
class ClassList:
    """How many classes there are and, where the files say so, their names in label order."""

    count: int
    names: list[str] | None

    @property
    def digest(self) -> str | None:
        """Their number and the crc32 of their names, in words that differ for other classes; None without names."""
        if self.names is None:
            return None
        # A name that is no valid UTF-8 comes as lone surrogates.
        return f"{self.count} classes, crc {crc32(repr(self.names).encode('utf-8', 'surrogateescape')):08x}"


def agree_on_classes(*betons: Beton) -> ClassList:
    """The class list of files that are to be used together.

    Raises UserError when two name different classes or one holds a label that its names don't cover. Files of
    stock ffcv carry no names: their labels are taken at their word, and `names` is None unless another knows.
    """
    named = [beton for beton in betons if beton.manifest]
    for first, second in pairwise(named):
        assert first.manifest and second.manifest
        where = f"{first.path} and {second.path}: convert both from one source"
        check_same_classes(first.manifest.classes, second.manifest.classes, where)
    for beton in betons:
        if not beton.num_samples:
            raise UserError(f"{beton.path} holds no images: convert a data set that has some")
    largest = max(int(beton.labels.max()) for beton in betons)
    if not named or named[0].manifest is None:
        return ClassList(largest + 1, None)
    names = list(named[0].manifest.classes)
    if largest >= len(names):
        files = " or ".join(str(beton.path) for beton in betons)
        raise UserError(
            f"{files} holds label {largest}, but only {len(names)} classes are named: convert again"
        )
    return ClassList(len(names), names)


def refuse_other_classes(found: ClassList, wanted: str) -> None:
    """Raises UserError if the data name their classes and these are not `wanted`, an option's value (empty: any)."""
    if wanted and found.digest and found.digest != wanted:
        raise UserError(
            f"data.classes: the recipe is of a run on data with {wanted}, these data have {found.digest}: give data of "
            "the same classes, or pass --data.classes= to train on others"
        )


def class_doubts(*betons: Beton) -> list[str]:
    """What is odd about the labels of files that name no classes, a line each: train, then val, or one file."""
    unnamed, doubts = [beton for beton in betons if not beton.manifest], []
    for beton in unnamed:
        (first, last), present = largest_gap(beton.labels), len(np.unique(beton.labels))
        if last - first >= present:
            sample = int(np.argmax(beton.labels == last + 1))
            doubts.append(
                f"{beton.path} has images of {present} classes, and none with a label from {first} to {last} (sample "
                f"{sample} has {last + 1}): a damaged label looks like this, and so does a part of a data set"
            )
    counts = [beton.num_classes for beton in unnamed]
    if len(set(counts)) > 1:
        largest = " and ".join(f"{beton.path} has labels up to {beton.num_classes - 1}" for beton in unnamed)
        doubts.append(f"{largest}, without class names: check that both were made with the same classes")
    return doubts


def identity(beton: Beton) -> str:
    """Number of images and a CRC-32 of their labels, sizes and places and, where the file has them, checksums.

    Where the file lies and when it was written plays no part. Without checksums (files that stock ffcv wrote) other
    pixels of the same sizes are not noticed.
    """
    total = 0
    for table in (beton.labels, beton.sizes, beton.images, beton.checksums):
        if table is not None:
            total = crc32(memoryview(table.tobytes()), total)
    return f"{beton.num_samples} images, crc {total:08x}"
