"""The lowest layer of writing: records, in the order they come, into the pages of one .beton.

    header | descriptors | tables | pages of records ... | manifest | checksums | allocation table
       written by `finish`              `append`                    written by `finish`

Records are laid out by their sizes alone, so the same records in the same order make the same bytes, whoever made
them and however often the work was interrupted. Until `finish` the file has no header, and every reader refuses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.beton.checksum import crc32
from engine.data.beton.image_field import field_type, put_arguments
from engine.data.beton.manifest import Manifest
from engine.data.storage.storage_format import StorageFormat

_PIECE = 2**20


class Output(Protocol):
    """What is written to: an ordinary file, or a DirectFile."""

    def seek(self, offset: int, /) -> int:
        """Go on there."""
        ...

    def tell(self) -> int:
        """Where the next byte goes."""
        ...

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all of it."""
        ...


@dataclass
class PageCursor:
    """Where the next record goes: after the last one, or in the next page when it would cross its end."""

    offset: int
    page_size: int

    def place(self, size: int) -> int:
        """The offset for a record of `size` bytes, at most a page; the cursor moves behind it."""
        assert size <= self.page_size
        start = self.offset
        if start // self.page_size != (start + size - 1) // self.page_size:
            start = layout.align_up(start, self.page_size)
        self.offset = start + size
        return start


class BetonWriter:
    """Writes one file of up to `capacity` samples to `file`, which is seekable and, unless resumed, empty.

    `page_size` is in bytes, a power of two; `fields` are the file's two descriptors (`image_fields`).
    """

    def __init__(self, file: Output, fields: NDArray[np.void], page_size: int, capacity: int) -> None:
        self.file, self.page_size, self.count = file, page_size, 0
        self._fields = fields.copy()
        self._samples = np.zeros(capacity, layout.sample_dtype(fields["type_id"].tolist()))
        self._table = np.zeros(capacity, layout.ALLOCATION)
        self._table["sample_id"] = np.arange(capacity)
        self._checksums = np.zeros(capacity, layout.CHECKSUM)
        data_start = layout.HEADER.itemsize + fields.nbytes + self._samples.nbytes
        self._cursor = PageCursor(layout.align_up(data_start, page_size), page_size)

    @property
    def offset(self) -> int:
        """Where the last record ends: the file's length so far, in bytes."""
        return self._cursor.offset

    def append(
        self,
        images: NDArray[np.void],
        labels: NDArray[np.int64],
        sizes: Sequence[int],
        checksums: Sequence[int] | NDArray[np.uint32],
        payload: bytes | memoryview,
    ) -> None:
        """Write records one after the other: `payload` is all of them, `sizes` bytes each.

        `images` (layout.IMAGE; data_ptr is filled in here), `labels` and `checksums` (crc32) have an entry for each.
        """
        pointers = self.resume(images, labels, sizes, checksums)
        begin, end, view = 0, 0, memoryview(payload)
        for number, (pointer, size) in enumerate(zip(pointers, sizes, strict=True)):
            end += size
            # Neighbours go out together; a gap lies only before the first record of a page.
            if number + 1 == len(sizes) or pointers[number + 1] != pointer + size:
                start = pointer + size - (end - begin)
                if start != self.file.tell():
                    self.file.seek(start)
                self.file.write(view[begin:end])
                begin = end

    def resume(
        self,
        images: NDArray[np.void],
        labels: NDArray[np.int64],
        sizes: Sequence[int],
        checksums: Sequence[int] | NDArray[np.uint32],
    ) -> list[int]:
        """As `append`, for records that an interrupted writer has written already; returns where each one starts."""
        here = slice(self.count, self.count + len(sizes))
        pointers = [self._cursor.place(size) for size in sizes]
        # A copy: those of a caller may be read-only.
        self._samples["f0"][here] = images
        self._samples["f0"]["data_ptr"][here] = pointers
        self._samples["f1"][here] = labels
        self._table["ptr"][here], self._table["size"][here] = pointers, sizes
        self._checksums[here] = checksums
        self.count = here.stop
        return pointers

    def drop(self, rows: NDArray[np.int64]) -> NDArray[np.void]:
        """Leave these records out after all; returns their `images`. Their bytes stay, but nothing leads there: only
        behind the last record they become zeros, as readers want them."""
        kept = np.delete(np.arange(self.count), rows)
        dropped = self._samples["f0"][rows]
        for array in (self._samples, self._checksums):
            array[: len(kept)] = array[kept]
        for name in ("ptr", "size"):
            self._table[name][: len(kept)] = self._table[name][kept]
        self.count = len(kept)
        last = self._table[: self.count][-1:]
        end = int(last["ptr"][0] + last["size"][0]) if len(last) else self.offset
        self.file.seek(end)
        for start in range(end, self.offset, _PIECE):
            self.file.write(bytes(min(_PIECE, self.offset - start)))
        return dropped

    def finish(self, manifest: Manifest | None) -> int:
        """Write all that is not records; returns the file's size in bytes. The file is not synced."""
        samples, table = self._samples[: self.count], self._table[: self.count]
        self.file.seek(self.offset)
        if manifest:
            data = replace(manifest, checksums=True).to_bytes()
            part = (layout.MANIFEST_MAGIC, layout.MANIFEST_VERSION, crc32(data), self.file.tell(), len(data))
            _enter(self._fields, layout.MANIFEST_PLACE, part)
            self.file.write(data)
        write_checksums(self.file, self._fields, self._checksums[: self.count], samples, table)
        return write_ends(self.file, self.page_size, self._fields, samples, table)


def image_fields(form: StorageFormat, short_side: int = 0, max_resolution: int = 0) -> NDArray[np.void]:
    """The descriptors of a file's two fields, in file order, for images in this format and those of the same field.

    The limits (pixels, 0: none) are written down in custom fields only.
    """
    types = (field_type(form), layout.INT_FIELD)
    fields = np.zeros(2, layout.FIELD)
    for field, name, type_id in zip(fields, ("image", "label"), types, strict=True):
        field["type_id"] = type_id
        field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    put_arguments(fields[0]["arguments"], form, short_side, max_resolution)
    return fields


def write_checksums(
    file: Output,
    fields: NDArray[np.void],
    checksums: NDArray[np.uint32],
    samples: NDArray[np.void],
    table: NDArray[np.void],
) -> None:
    """Write the records' checksums, and enter one over all that precedes and follows the records."""
    crc = 0
    for array in (samples, table, checksums):
        crc = crc32(array.view(np.uint8), crc)
    part = (layout.CHECKSUMS_MAGIC, layout.CHECKSUMS_VERSION, crc, file.tell(), checksums.nbytes)
    _enter(fields, layout.CHECKSUMS_PLACE, part)
    file.write(checksums.tobytes())


def _enter(fields: NDArray[np.void], place: int, part: tuple[bytes, int, int, int, int]) -> None:
    """Say in the label's descriptor where a part lies."""
    record = np.array(part, layout.PART)
    fields[1]["arguments"][place : place + record.nbytes] = np.frombuffer(record.tobytes(), np.uint8)


def write_ends(
    file: Output,
    page_size: int,
    fields: NDArray[np.void],
    samples: NDArray[np.void],
    table: NDArray[np.void],
) -> int:
    """Write the allocation table here, then what precedes the records; returns the file's size."""
    header = np.array(
        (layout.VERSION, len(fields), page_size, len(samples), file.tell()),
        layout.HEADER,
    )
    file.write(table.tobytes())
    total = file.tell()
    file.seek(0)
    for array in (header, fields, samples):
        file.write(array.tobytes())
    return total
