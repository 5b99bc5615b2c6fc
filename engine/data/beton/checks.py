"""What must hold of the records of a .beton before one of them is read, as array operations over all at once.

Each check names the first sample that fails it. None touches a record itself.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.storage.storage_format import StorageFormat
from engine.errors import UserError

# Far above any class list (ImageNet-21k has 21,841), and few enough to count the images of each.
_MOST_CLASSES = 2**24
# Labels in a row that no image has, in a file without class names: as many as ImageNet-21k has, of which a part may
# have been stored under its own labels. More of them are a damaged label, for which a classifier would take all memory.
_LARGEST_GAP = 21_841


def sizes_of(path: Path, images: NDArray[np.void], table: NDArray[np.void]) -> NDArray[np.uint64]:
    """Bytes of each image's record: the allocation table, looked up by pointer as ffcv does.

    `table` has as many entries as there are images, at least one. Raises UserError unless each image has its
    own entry.
    """
    table = table[np.argsort(table["ptr"], kind="stable")]
    place = np.minimum(np.searchsorted(table["ptr"], images["data_ptr"]), len(table) - 1)
    _refuse_first(path, table["ptr"][place] != images["data_ptr"], "is not in the allocation table")
    other = table["sample_id"][place] != np.arange(len(images), dtype=np.uint64)
    _refuse_first(path, other, "has the record of another sample")
    return table["size"][place].astype(np.uint64)


def check_records(
    path: Path, images: NDArray[np.void], sizes: NDArray[np.uint64], page_size: int, start: int, end: int
) -> None:
    """Raise UserError unless every record lies in the file's bytes `start` to `end`, in one page, and alone."""
    pointers = images["data_ptr"]
    # Compared without adding pointer and size, since the sum of two damaged numbers may wrap around.
    outside = (pointers < start) | (pointers > end)
    outside |= sizes > np.uint64(end) - np.minimum(pointers, np.uint64(end))
    _refuse_first(path, outside, "lies outside the file's data")
    # Both writers see to it, and ffcv's readers of single pages rely on it.
    crosses = sizes > np.uint64(page_size) - pointers % np.uint64(page_size)
    _refuse_first(path, crosses, "crosses the end of a page")
    order = np.argsort(pointers, kind="stable")
    overlaps = np.zeros(len(pointers), bool)
    overlaps[order[:-1]] = sizes[order[:-1]] > np.diff(pointers[order])
    _refuse_first(path, overlaps, "overlaps the record of another sample")


def check_images(
    path: Path, images: NDArray[np.void], sizes: NDArray[np.uint64], formats: Sequence[StorageFormat]
) -> None:
    """Raise UserError unless every image is stored in one of the formats, in a record of the size that this takes."""
    mode = images["mode"]
    known = np.isin(mode, [form.mode for form in formats])
    _refuse_first(path, ~known, "has an unknown storage mode")
    empty = (images["width"] == 0) | (images["height"] == 0) | (sizes == 0)
    _refuse_first(path, empty, "has no pixels")
    heights, widths = (images[side].astype(np.int64) for side in ("height", "width"))
    for form in formats:
        is_its = mode == form.mode
        for wrong, what in form.faults(heights, widths, sizes.astype(np.int64)):
            _refuse_first(path, is_its & wrong, what)


def check_labels(path: Path, labels: NDArray[np.int64], num_classes: int | None) -> None:
    """Raise UserError unless every label is that of a class; None where the file names no classes."""
    _refuse_first(path, labels < 0, "has a negative label")
    if num_classes is None:
        _refuse_first(path, labels >= _MOST_CLASSES, "has a label beyond any class list")
        first, last = largest_gap(labels)
        what = f"has the label {last + 1}, and no image has one of the {last + 1 - first} labels before it"
        _refuse_first(path, (labels == last + 1) & (last + 1 - first > _LARGEST_GAP), what)
    else:
        _refuse_first(path, labels >= num_classes, "has a label without a class name")


def largest_gap(labels: NDArray[np.int64]) -> tuple[int, int]:
    """The first and last of the most labels in a row, below the largest, that no image has; (0, -1): there are none."""
    present = np.unique(labels)
    before = np.concatenate([[-1], present[:-1]])
    place = int(np.argmax(present - before))
    gap = int(before[place]) + 1, int(present[place]) - 1
    return gap if gap[0] <= gap[1] else (0, -1)


def _refuse_first(path: Path, bad: NDArray[np.bool_], what: str) -> None:
    """Raise UserError for the first sample marked in `bad`, if any."""
    if not bad.any():
        return
    index, more = int(np.argmax(bad)), int(bad.sum()) - 1
    others = f" (and {more} more like it)" if more else ""
    raise UserError(f"{path} is damaged: sample {index} {what}{others}; copy or write it again")
