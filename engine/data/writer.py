"""One split -> one .beton that stock ffcv reads as well. Encoding is spread over processes; writing is not.

The parent lays the records into pages in the samples' order and writes them one after the other, so the file
is the same for any number of workers and the disk is written sequentially. ffcv's own DatasetWriter is not
used: it waits for ever once a worker has died, and its file's order depends on the workers' timing.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

import engine
from engine.config.schema import OutputConfig
from engine.data import layout
from engine.data.checksum import crc32
from engine.data.encode import EncodeSettings, Task
from engine.data.manifest import Manifest
from engine.data.progress import Progress
from engine.data.sources import Source, Split
from engine.data.workers import default_workers, encode_in_order

_CHUNK = 16

# The options that decide the file's content. The others (workers, folder, overwrite) stay out of the
# manifest, so that the file does not depend on them.
_SETTINGS = (
    "format",
    "max_resolution",
    "short_side",
    "jpeg_quality",
    "compress_probability",
    "subset",
    "page_size",
    "seed",
)

# Independent random streams from the one seed.
_SUBSET_STREAM, _MODE_STREAM = 0, 1


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a split's file came to."""

    samples: int
    classes: int
    modes: str
    """How many images are stored how, in words."""
    bytes: int
    seconds: float


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


def choose_subset(source: Source, output: OutputConfig) -> Source:
    """The samples to write: all, or `output.subset` of them drawn by the seed, in the source's order."""
    if output.subset == 0 or output.subset >= len(source):
        return source
    random = np.random.default_rng([output.seed, _SUBSET_STREAM])
    chosen = np.sort(random.permutation(len(source))[: output.subset])
    return source.select(chosen.tolist())


def choose_modes(count: int, output: OutputConfig) -> NDArray[np.uint8]:
    """The layout.MODE_... of each sample: a function of format, seed and the sample's number."""
    if output.format == "yuv420":
        return np.full(count, layout.MODE_YUV420, np.uint8)
    if output.format == "proportion":
        random = np.random.default_rng([output.seed, _MODE_STREAM])
        as_jpeg = random.random(count) < output.compress_probability
    else:
        as_jpeg = np.full(count, output.format == "jpeg")
    return np.where(as_jpeg, layout.MODE_JPEG, layout.MODE_RAW).astype(np.uint8)


def write_split(file: BinaryIO, source: Source, split: Split, output: OutputConfig) -> Written:
    """Write `source` to `file`, which is empty and seekable.

    Raises UserError when an image cannot be used or a worker dies, OSError when the file cannot be written.
    """
    source = choose_subset(source, output)
    modes = choose_modes(len(source), output)
    fields = _fields(output)
    samples = np.zeros(len(source), layout.sample_dtype(fields["type_id"].tolist()))
    samples["f1"] = source.labels
    table = np.zeros(len(source), layout.ALLOCATION)
    table["sample_id"] = np.arange(len(source))
    checksums = np.zeros(len(source), layout.CHECKSUM)

    page_size = output.page_size * 2**20
    data_start = layout.HEADER.itemsize + fields.nbytes + samples.nbytes
    cursor = PageCursor(layout.align_up(data_start, page_size), page_size)
    settings = EncodeSettings(
        max_resolution=output.max_resolution,
        short_side=output.short_side,
        jpeg_quality=output.jpeg_quality,
        max_bytes=page_size,
    )
    chunks = encode_in_order(_tasks(source, modes, settings), output.num_workers or default_workers())
    # Closed at once on an error here, a full disk for example, so that no worker outlives it.
    with closing(chunks), Progress(split, len(source)) as progress:
        first = 0
        for records in chunks:
            here = slice(first, first + len(records.sizes))
            records.images["data_ptr"] = _write_records(file, cursor, records.payload, records.sizes)
            samples["f0"][here] = records.images
            table["ptr"][here], table["size"][here] = records.images["data_ptr"], records.sizes
            checksums[here] = records.checksums
            first = here.stop
            progress.update(len(records.sizes), cursor.offset)

    manifest = _manifest(source, split, modes, output)
    file.seek(cursor.offset)
    _write_manifest(file, fields, manifest)
    write_checksums(file, fields, checksums, samples, table)
    total = write_ends(file, page_size, fields, samples, table)
    return Written(
        samples=len(source),
        classes=len(source.classes),
        modes=layout.describe_modes(modes),
        bytes=total,
        seconds=progress.seconds,
    )


def _tasks(source: Source, modes: NDArray[np.uint8], settings: EncodeSettings) -> Iterator[Task]:
    for first in range(0, len(source), _CHUNK):
        here = slice(first, first + _CHUNK)
        yield Task(
            first=first, ids=source.ids[here], modes=modes[here], reader=source.reader, settings=settings
        )


def _write_records(file: BinaryIO, cursor: PageCursor, payload: bytes, sizes: Sequence[int]) -> list[int]:
    """Write a chunk's records; returns where each one starts."""
    pointers, taken, view = [], 0, memoryview(payload)
    for size in sizes:
        pointer = cursor.place(size)
        if pointer != file.tell():
            file.seek(pointer)
        file.write(view[taken : taken + size])
        pointers.append(pointer)
        taken += size
    return pointers


def _fields(output: OutputConfig) -> NDArray[np.void]:
    """The descriptors of the file's two fields, in file order; the parts of ours are still to be entered."""
    image_type = layout.CUSTOM_FIELD if output.format == "yuv420" else layout.RGB_IMAGE_FIELD
    fields = np.zeros(2, layout.FIELD)
    for field, name, type_id in zip(fields, ("image", "label"), (image_type, layout.INT_FIELD), strict=True):
        field["type_id"] = type_id
        field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    if image_type == layout.CUSTOM_FIELD:
        layout.put_yuv420(fields[0]["arguments"], output.short_side, output.max_resolution)
    return fields


def _write_manifest(file: BinaryIO, fields: NDArray[np.void], manifest: Manifest) -> None:
    data = manifest.to_bytes()
    part = (layout.MANIFEST_MAGIC, layout.MANIFEST_VERSION, crc32(data), file.tell(), len(data))
    _enter(fields, layout.MANIFEST_PLACE, part)
    file.write(data)


def write_checksums(
    file: BinaryIO,
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
    file: BinaryIO,
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


def _manifest(source: Source, split: Split, modes: NDArray[np.uint8], output: OutputConfig) -> Manifest:
    return Manifest(
        split=split,
        classes=tuple(source.classes),
        ids=tuple(source.ids),
        source=source.kind,
        settings={name: getattr(output, name) for name in _SETTINGS},
        versions={
            "engine": engine.__version__,
            "ffcv": importlib.metadata.version("ffcv"),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pillow": PIL.__version__,
        },
        counts={"samples": len(source), **layout.count_modes(modes)},
        created_by="write_dataset.py",
    )
