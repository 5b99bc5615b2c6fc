"""Opening a .beton: everything it says about itself is checked before anything is read through it.

A decoder that follows a pointer out of the file ends the process without a word, so a file is refused here,
in one line, when it is not a .beton, was cut short, or contradicts itself. The checks read the header, the
metadata, the allocation table, the manifest and the list of checksums, never the images: a file of 1.28 million
opens in a second.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.beton.checks import check_images, check_labels, check_records, sizes_of
from engine.data.beton.checksum import crc32
from engine.data.beton.file_mark import FileMark, read_mark, state_of
from engine.data.beton.image_field import custom_arguments, formats_in
from engine.data.beton.manifest import Manifest
from engine.data.storage import formats
from engine.data.storage.storage_format import StorageFormat
from engine.errors import UserError, describe_os_error
from engine.system import opened_again

Storage: TypeAlias = str
"""The name of a storage format, or "proportion"."""

_AGAIN = "write it again with write_dataset.py"
_PIECE = 2**20

# What is left of "s3://" in a Path.
_URL = re.compile(r"^([a-z][a-z0-9+.-]+):/+")


class Arrival(Protocol):
    """A file whose records are still downloaded, as its readers know it (engine.data.remote)."""

    @property
    def descriptor(self) -> int:
        """The file, open for reading: it gets another name, and stays the same file."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        ...

    @property
    def bytes_arrived(self) -> int:
        """Bytes of records that are there."""
        ...

    def start(self) -> None:
        """Begin with the download, unless that was done; returns at once."""
        ...

    def prefer(self, spans: NDArray[np.int64]) -> None:
        """Download these bytes (n, 2), pages of sampling.order.cut_pages, before the others, in this order."""
        ...

    def wait(self, spans: NDArray[np.int64] | None = None, goes_on: Callable[[], bool] | None = None) -> None:
        """Wait until these bytes (n, 2) are there, None: all, or until `goes_on` says no.

        Raises UserError where the download has failed.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Beton:
    """A checked file. Arrays have one entry for each sample, in file order, and are read-only."""

    path: Path
    num_samples: int
    page_size: int
    """Bytes in a page, a power of two; no record crosses a multiple of it."""
    images: NDArray[np.void]
    """Structured: mode (of the image's StorageFormat), width, height (pixels), data_ptr (bytes)."""
    sizes: NDArray[np.uint64]
    """Bytes of each image's record, which starts at its data_ptr."""
    labels: NDArray[np.int64]
    manifest: Manifest | None
    """None for a file that stock ffcv wrote."""
    checksums: NDArray[np.uint32] | None = None
    """crc32 of each image's record; None for a file that has none: stock ffcv's, or an older one of ours."""
    short_side: int = 0
    """In a custom field: what the shorter side was limited to, in pixels; 0: nothing, and always in ffcv's field."""
    max_resolution: int = 0
    """In a custom field: what the longer side was limited to, likewise."""
    mark: FileMark | None = None
    """The file as it was when it was read; None for a Beton that was made in memory, or is still downloaded."""
    arrival: Arrival | None = None
    """Of a file that was still downloaded when it was opened: `path` is then its name from its end on."""

    @property
    def storage(self) -> Storage:
        """How the images are stored; "proportion" where some are JPEG and some raw."""
        return formats.storage_name(self.images["mode"])

    @property
    def formats(self) -> tuple[StorageFormat, ...]:
        """Those in which images of this file are stored; all of one field."""
        return formats.stored_formats(self.images["mode"])

    @property
    def num_classes(self) -> int:
        """Classes in the manifest, or one more than the largest label where there is no manifest."""
        return len(self.manifest.classes) if self.manifest else int(self.labels.max()) + 1

    def open(self) -> int:
        """A new descriptor of the file, for reads at a position. Raises UserError."""
        try:
            if self.arrival is not None:
                return opened_again(self.arrival.descriptor)
            return os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise describe_os_error(error, self.path, "open") from None

    @property
    def file_size(self) -> int:
        """Bytes of the file now."""
        return os.stat(self.arrival.descriptor if self.arrival is not None else self.path).st_size

    def memory(self, descriptor: int | None = None) -> "np.memmap[tuple[int], np.dtype[np.uint8]]":
        """The whole file, or the one open as `descriptor`, as read-only uint8 of shape (bytes,), mapped, not read."""
        own = self.open() if descriptor is None else descriptor
        try:
            with open(own, "rb", closefd=descriptor is None) as file:
                return np.memmap(file, dtype=np.uint8, mode="r")
        except OSError as error:
            raise describe_os_error(error, self.path, "map") from None
        except ValueError:
            raise UserError(f"{self.path} is empty now: copy or write it again") from None


def open_beton(path: Path | str, arriving: BinaryIO | None = None) -> Beton:
    """Open and check the file. Raises UserError: one line with the path, what is wrong, and what to do.

    `arriving` is the file, open, of which only what is read here has to be there; it has no `mark` then.
    """
    path = Path(path)
    try:
        if arriving is not None:
            return _read(path, arriving, complete=False)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file: give the path of a .beton file")
        _refuse_url(path)
        with open(path, "rb") as file:
            return _read(path, file)
    except OSError as error:
        raise describe_os_error(error, path, "open") from None


def _refuse_url(path: Path) -> None:
    if (url := _URL.match(str(path))) and not path.exists():
        raise UserError(
            f"{url[1]}://{str(path)[url.end() :]} is a URL, and only data.train_dataset and data.val_dataset take one: "
            "copy the file to this machine and give its path"
        )


def _read(path: Path, file: BinaryIO, *, complete: bool = True) -> Beton:
    file_size = file.seek(0, 2)
    state = state_of(file.fileno())
    header = _read_header(path, file, file_size)
    num_samples, table_start = int(header["num_samples"]), int(header["alloc_table_ptr"])
    fields = _read_fields(path, file)
    types = [int(descriptor["type_id"]) for descriptor in fields]
    label_place = types.index(layout.INT_FIELD)
    image_place = 1 - label_place
    samples_start = layout.HEADER.itemsize + fields.nbytes
    sample = layout.sample_dtype(types)
    data_start = samples_start + num_samples * sample.itemsize
    _check_ends(path, file_size, num_samples, data_start, table_start)

    samples = np.frombuffer(_read_bytes(path, file, samples_start, data_start - samples_start), sample)
    table = np.frombuffer(_read_bytes(path, file, table_start, file_size - table_start), layout.ALLOCATION)
    images, labels = samples[f"f{image_place}"].copy(), samples[f"f{label_place}"].astype(np.int64)
    sizes = sizes_of(path, images, table)
    check_records(path, images, sizes, int(header["page_size"]), data_start, table_start)
    image_field = fields[image_place]
    check_images(path, images, sizes, formats_in(types[image_place], image_field["arguments"]))

    parts = _Parts(path, file, fields[label_place], int(np.max(images["data_ptr"] + sizes)), table_start)
    manifest = _read_manifest(parts, num_samples)
    check_labels(path, labels, len(manifest.classes) if manifest else None)
    checksums = _read_checksums(
        parts, crc32(table.view(np.uint8), crc32(samples.view(np.uint8))), num_samples
    )
    if checksums is None and manifest and manifest.checksums:
        raise UserError(f"{path} is damaged: its checksums are missing; copy or write it again")
    parts.check_rest(int(header["page_size"]))
    mark = read_mark(file.fileno(), (data_start, parts.start), file_size) if complete else None
    if mark and mark.state != state:
        raise UserError(f"{path} was changed while it was read: wait until it is written, then start again")
    limits = custom_arguments(image_field["arguments"])
    is_custom = types[image_place] == layout.CUSTOM_FIELD
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
        checksums=checksums,
        short_side=int(limits["short_side"]) if is_custom else 0,
        max_resolution=int(limits["max_resolution"]) if is_custom else 0,
        mark=mark,
    )


def _read_header(path: Path, file: BinaryIO, file_size: int) -> np.void:
    if file_size < layout.HEADER.itemsize + 2 * layout.FIELD.itemsize:
        raise UserError(f"{path} is not a .beton file, or was cut short: it has only {file_size} bytes")
    data = _read_bytes(path, file, 0, layout.HEADER.itemsize)
    header: np.void = np.frombuffer(data, layout.HEADER)[0]
    page_size, num_fields = int(header["page_size"]), int(header["num_fields"])
    is_page = page_size & (page_size - 1) == 0 and layout.MIN_PAGE_SIZE <= page_size <= layout.MAX_PAGE_SIZE
    if header["version"] != layout.VERSION or not is_page or num_fields == 0:
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
    data = _read_bytes(path, file, layout.HEADER.itemsize, 2 * layout.FIELD.itemsize)
    fields = np.frombuffer(data, layout.FIELD)
    names = [bytes(one["name"]).split(b"\0")[0].decode("ascii", "replace") for one in fields]
    found = dict(zip(names, fields, strict=True))
    image_types = (layout.RGB_IMAGE_FIELD, layout.CUSTOM_FIELD)
    if (
        found.keys() != {"image", "label"}
        or found["image"]["type_id"] not in image_types
        or found["label"]["type_id"] != layout.INT_FIELD
    ):
        kinds = ", ".join(
            f"{name!r} (type {one['type_id']})" for name, one in zip(names, fields, strict=True)
        )
        raise UserError(
            f"{path} has the fields {kinds}, not 'image' (type {layout.RGB_IMAGE_FIELD}: RGB image, or "
            f"{layout.CUSTOM_FIELD}: a format of this engine) and 'label' (type {layout.INT_FIELD}: integer); {_AGAIN}"
        )
    if found["image"]["type_id"] == layout.CUSTOM_FIELD:
        _check_custom(path, found["image"])
    return fields


def _check_custom(path: Path, field: np.void) -> None:
    found = formats_in(layout.CUSTOM_FIELD, field["arguments"])
    record = custom_arguments(field["arguments"])
    if not found:
        raise UserError(
            f"{path} stores its images in a custom field of another program, or in a storage format that is not "
            f"registered ({record['magic']!r}): import the module that registers it, or {_AGAIN}"
        )
    if record["version"] != found[0].version:
        raise UserError(
            f"{path} stores {found[0].title} images of version {record['version']}, this engine reads version "
            f"{found[0].version}: update the engine or {_AGAIN}"
        )


def _check_ends(path: Path, file_size: int, num_samples: int, data_start: int, table_start: int) -> None:
    if table_start == 0:
        raise UserError(f"{path} is unfinished: its conversion was interrupted; {_AGAIN}")
    if data_start > file_size or table_start > file_size:
        raise UserError(
            f"{path} was cut short: it has {file_size} bytes and should have at least "
            f"{max(data_start, table_start)}; copy or write it again"
        )
    if table_start < data_start:
        raise UserError(f"{path} is damaged: its allocation table overlaps its header; {_AGAIN}")
    if num_samples == 0:
        raise UserError(f"{path} holds no images; {_AGAIN}")
    # Before the table is read: a damaged pointer could make the whole file of it.
    if file_size - table_start != num_samples * layout.ALLOCATION.itemsize:
        raise UserError(
            f"{path} was cut short or has too many bytes: its allocation table has {file_size - table_start} "
            f"bytes, not {layout.ALLOCATION.itemsize} for each of {num_samples} images; copy or write it again"
        )


@dataclass(frozen=True)
class _Parts:
    """Reads the parts that only files of ours have."""

    path: Path
    file: BinaryIO
    label_field: np.void
    start: int
    """Where the last record ends; no part begins before."""
    end: int
    """Where the allocation table begins; no part ends after."""
    found: list[tuple[int, int]] = field(default_factory=list)
    """Where each part that was read begins and ends."""

    def read(self, place: int, magic: bytes, version: int, what: str, before: int = 0) -> bytes | None:
        """The part whose layout.PART is at `place`, None where there is none.

        Raises UserError, saying `what` is damaged, unless the part's crc32 (after `before`) is right.
        """
        area = self.label_field["arguments"][place : place + layout.PART.itemsize].tobytes()
        if not any(area):
            return None
        damaged = UserError(f"{self.path} is damaged: {what}; copy or write it again")
        record = np.frombuffer(area, layout.PART)[0]
        if record["magic"] != magic:
            raise damaged
        if record["version"] > version:
            raise UserError(f"{self.path} was written by a later version of this engine: update the engine")
        offset, size = int(record["offset"]), int(record["size"])
        if offset < self.start or offset + size > self.end:
            raise damaged
        data = _read_bytes(self.path, self.file, offset, size)
        if crc32(data, before) != record["crc32"]:
            raise damaged
        self.found.append((offset, offset + size))
        return data

    def check_rest(self, page_size: int) -> None:
        """Raise UserError unless all between the records and the table is a part that was read, or zeros: the padding
        of stock ffcv's last page, or records that a conversion of ours withdrew. What else lies there is a part whose
        entry was lost.
        """
        lost = UserError(
            f"{self.path} is damaged: it no longer says where its manifest or checksums are; copy or write "
            "it again"
        )
        at = self.start
        for start, stop in [*sorted(self.found), (self.end, self.end)]:
            if start - at >= page_size and not self.found:
                raise lost
            for piece in range(at, start, _PIECE):
                data = _read_bytes(self.path, self.file, piece, min(_PIECE, start - piece))
                if np.frombuffer(data, np.uint8).any():
                    raise lost
            at = max(at, stop)


def _read_manifest(parts: _Parts, num_samples: int) -> Manifest | None:
    what = "its manifest (class names, settings) cannot be read"
    data = parts.read(layout.MANIFEST_PLACE, layout.MANIFEST_MAGIC, layout.MANIFEST_VERSION, what)
    if data is None:
        return None
    try:
        manifest = Manifest.from_bytes(data)
    except ValueError:
        raise UserError(f"{parts.path} is damaged: {what}; {_AGAIN}") from None
    if len(manifest.ids) != num_samples:
        raise UserError(
            f"{parts.path} is damaged: its manifest lists {len(manifest.ids)} images and it holds "
            f"{num_samples}; {_AGAIN}"
        )
    return manifest


def _read_checksums(parts: _Parts, tables: int, num_samples: int) -> NDArray[np.uint32] | None:
    """`tables` is the crc32 of the metadata and the allocation table, which the part's own goes on from."""
    what = "its labels, sizes or checksums have changed since it was written"
    data = parts.read(layout.CHECKSUMS_PLACE, layout.CHECKSUMS_MAGIC, layout.CHECKSUMS_VERSION, what, tables)
    if data is None:
        return None
    if len(data) != num_samples * layout.CHECKSUM.itemsize:
        raise UserError(
            f"{parts.path} is damaged: it has {len(data)} bytes of checksums for {num_samples} images; {_AGAIN}"
        )
    return np.frombuffer(data, layout.CHECKSUM)


def _read_bytes(path: Path, file: BinaryIO, offset: int, size: int) -> bytes:
    """The bytes, all of them: the file was long enough when it was opened."""
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise UserError(f"{path} became shorter while it was read: is it still being copied?")
    return data
