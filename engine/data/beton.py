"""Opening a .beton: everything it says about itself is checked before anything is read through it.

A decoder that follows a pointer out of the file ends the process without a word, so a file is refused here,
in one line, when it is not a .beton, was cut short, or contradicts itself. The checks read the header, the
metadata, the allocation table and the manifest, never the images: a file of 1.28 million opens in a second.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data import layout
from engine.data.manifest import Manifest
from engine.errors import UserError, describe_os_error

_AGAIN = "write it again with write_dataset.py"


@dataclass(frozen=True, kw_only=True, eq=False)
class Beton:
    """A checked file. Arrays have one entry for each sample, in file order, and are read-only."""

    path: Path
    num_samples: int
    page_size: int
    """Bytes in a page; no record crosses a multiple of it in files of ours."""
    images: NDArray[np.void]
    """Structured: mode (layout.MODE_JPEG or MODE_RAW), width, height (pixels), data_ptr (bytes)."""
    sizes: NDArray[np.uint64]
    """Bytes of each image's record, which starts at its data_ptr."""
    labels: NDArray[np.int64]
    manifest: Manifest | None
    """None for a file that stock ffcv wrote."""

    @property
    def num_classes(self) -> int:
        """Classes in the manifest, or one more than the largest label where there is no manifest."""
        return len(self.manifest.classes) if self.manifest else int(self.labels.max()) + 1

    def memory(self) -> "np.memmap[tuple[int], np.dtype[np.uint8]]":
        """The whole file as read-only uint8 of shape (bytes,), mapped, not read."""
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r")
        except OSError as error:
            raise describe_os_error(error, self.path, "map") from None


def open_beton(path: Path | str) -> Beton:
    """Open and check the file. Raises UserError: one line with the path, what is wrong, and what to do."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file: give the path of a .beton file")
        with open(path, "rb") as file:
            return _read(path, file)
    except OSError as error:
        raise describe_os_error(error, path, "open") from None


def _read(path: Path, file: BinaryIO) -> Beton:
    file_size = file.seek(0, 2)
    header = _read_header(path, file, file_size)
    num_samples, table_start = int(header["num_samples"]), int(header["alloc_table_ptr"])
    fields = _read_fields(path, file)
    types = [int(descriptor["type_id"]) for descriptor in fields]
    samples_start = layout.HEADER.itemsize + fields.nbytes
    sample = layout.sample_dtype(types)
    data_start = samples_start + num_samples * sample.itemsize
    _check_ends(path, file_size, data_start, table_start)

    samples = _read_array(file, samples_start, sample, num_samples)
    table = _read_array(file, table_start, layout.ALLOCATION, -1)
    images = samples[f"f{types.index(layout.RGB_IMAGE_FIELD)}"].copy()
    labels = samples[f"f{types.index(layout.INT_FIELD)}"].astype(np.int64)
    sizes = _sizes_of(path, images, table)
    _check_records(path, images, sizes, data_start, table_start)
    manifest = _read_manifest(path, file, fields[types.index(layout.INT_FIELD)], data_start, table_start)
    _check_labels(path, labels, manifest)
    for array in (images, sizes, labels):
        array.setflags(write=False)
    return Beton(
        path=path,
        num_samples=num_samples,
        page_size=int(header["page_size"]),
        images=images,
        sizes=sizes,
        labels=labels,
        manifest=manifest,
    )


def _read_header(path: Path, file: BinaryIO, file_size: int) -> np.void:
    if file_size < layout.HEADER.itemsize + 2 * layout.FIELD.itemsize:
        raise UserError(f"{path} is not a .beton file, or was cut short: it has only {file_size} bytes")
    header: np.void = _read_array(file, 0, layout.HEADER, 1)[0]
    page_size, num_fields = int(header["page_size"]), int(header["num_fields"])
    power_of_two = page_size > 0 and page_size & (page_size - 1) == 0
    if header["version"] != layout.VERSION or not power_of_two or num_fields == 0:
        raise UserError(
            f"{path} is not a .beton file of version {layout.VERSION}: give a file that write_dataset.py or "
            f"ffcv's writer made"
        )
    if num_fields != 2:
        raise UserError(
            f"{path} has {num_fields} fields: a classifier needs exactly two, 'image' and 'label'; {_AGAIN}"
        )
    return header


def _read_fields(path: Path, file: BinaryIO) -> NDArray[np.void]:
    fields = _read_array(file, layout.HEADER.itemsize, layout.FIELD, 2)
    found = {
        bytes(descriptor["name"]).split(b"\0")[0].decode("ascii", "replace"): int(descriptor["type_id"])
        for descriptor in fields
    }
    if found != {"image": layout.RGB_IMAGE_FIELD, "label": layout.INT_FIELD}:
        kinds = ", ".join(f"{name!r} (type {type_id})" for name, type_id in found.items())
        raise UserError(
            f"{path} has the fields {kinds}, not 'image' (type {layout.RGB_IMAGE_FIELD}: RGB image) and "
            f"'label' (type {layout.INT_FIELD}: integer); {_AGAIN}"
        )
    return fields


def _check_ends(path: Path, file_size: int, data_start: int, table_start: int) -> None:
    if table_start == 0:
        raise UserError(f"{path} is unfinished: its conversion was interrupted; {_AGAIN}")
    if data_start > file_size or table_start > file_size:
        raise UserError(
            f"{path} was cut short: it has {file_size} bytes and should have at least "
            f"{max(data_start, table_start)}; copy or write it again"
        )
    if table_start < data_start:
        raise UserError(f"{path} is damaged: its allocation table lies over its header; {_AGAIN}")
    if (file_size - table_start) % layout.ALLOCATION.itemsize:
        raise UserError(
            f"{path} was cut short or has bytes too many: its allocation table ends amid an entry; copy or "
            f"write it again"
        )


def _sizes_of(path: Path, images: NDArray[np.void], table: NDArray[np.void]) -> NDArray[np.uint64]:
    """Bytes of each image's record: the allocation table, looked up by pointer as ffcv does."""
    if not len(images):
        raise UserError(f"{path} holds no images; {_AGAIN}")
    if len(table) < len(images):
        raise UserError(
            f"{path} was cut short: its allocation table has {len(table)} entries for {len(images)} images; "
            f"copy or write it again"
        )
    table = table[np.argsort(table["ptr"], kind="stable")]
    place = np.minimum(np.searchsorted(table["ptr"], images["data_ptr"]), len(table) - 1)
    _refuse_first(path, table["ptr"][place] != images["data_ptr"], "is not in the allocation table")
    return table["size"][place].astype(np.uint64)


def _check_records(
    path: Path, images: NDArray[np.void], sizes: NDArray[np.uint64], data_start: int, table_start: int
) -> None:
    pointers = images["data_ptr"]
    # Compared without adding pointer and size, since the sum of two damaged numbers may wrap around.
    outside = (pointers < data_start) | (pointers > table_start)
    outside |= sizes > np.uint64(table_start) - np.minimum(pointers, np.uint64(table_start))
    _refuse_first(path, outside, "lies outside the file's data")
    _refuse_first(path, images["mode"] > layout.MODE_RAW, "is stored in a mode unknown here")
    empty = (images["width"] == 0) | (images["height"] == 0) | (sizes == 0)
    _refuse_first(path, empty, "has no pixels")
    pixels = images["width"].astype(np.uint64) * images["height"].astype(np.uint64)
    wrong = (images["mode"] == layout.MODE_RAW) & (sizes != pixels * np.uint64(3))
    _refuse_first(path, wrong, "is raw, but its bytes are not width x height x 3")


def _check_labels(path: Path, labels: NDArray[np.int64], manifest: Manifest | None) -> None:
    _refuse_first(path, labels < 0, "has a negative label")
    if manifest is None:
        return
    _refuse_first(path, labels >= len(manifest.classes), "has a label without a class name")
    if len(manifest.ids) != len(labels):
        raise UserError(
            f"{path} is damaged: its manifest lists {len(manifest.ids)} images and it holds "
            f"{len(labels)}; {_AGAIN}"
        )


def _read_manifest(
    path: Path, file: BinaryIO, label_field: np.void, data_start: int, table_start: int
) -> Manifest | None:
    area = label_field["arguments"].tobytes()[: layout.MANIFEST_RECORD.itemsize]
    record = np.frombuffer(area, layout.MANIFEST_RECORD)[0]
    if record["magic"] != layout.MANIFEST_MAGIC:
        return None
    if record["version"] > layout.MANIFEST_VERSION:
        raise UserError(f"{path} was written by a later version of this engine: update the engine")
    offset, size = int(record["offset"]), int(record["size"])
    damaged = UserError(f"{path} is damaged: its manifest (class names, settings) cannot be read; {_AGAIN}")
    if offset < data_start or offset + size > table_start:
        raise damaged
    file.seek(offset)
    data = file.read(size)
    if zlib.crc32(data) != record["crc32"]:
        raise damaged
    try:
        return Manifest.from_bytes(data)
    except ValueError:
        raise damaged from None


def _read_array(file: BinaryIO, offset: int, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    """`count` entries at `offset`, or all to the end of the file where count is -1."""
    file.seek(offset)
    return np.frombuffer(file.read(count * dtype.itemsize if count >= 0 else -1), dtype)


def _refuse_first(path: Path, bad: NDArray[np.bool_], what: str) -> None:
    """Raise UserError for the first sample marked in `bad`, if any."""
    if not bad.any():
        return
    index, more = int(np.argmax(bad)), int(bad.sum()) - 1
    others = f" (and {more} more like it)" if more else ""
    raise UserError(f"{path} is damaged: sample {index} {what}{others}; copy or write it again")
