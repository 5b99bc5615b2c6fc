"""One split -> one .beton that stock ffcv reads as well. Encoding is spread over processes; writing is not.

The parent lays the records into pages in the samples' order and writes them one after the other, so the file
is the same for any number of workers and the disk is written sequentially. ffcv's own DatasetWriter is not
used: it waits for ever once a worker has died, and its file's order depends on the workers' timing.
"""

import importlib.metadata
import zlib
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
from engine.data.encode import EncodeSettings, Task
from engine.data.manifest import Manifest
from engine.data.progress import Progress
from engine.data.sources import Source, Split
from engine.data.workers import default_workers, encode_in_order

_CHUNK = 16
_FIELD_TYPES = [layout.RGB_IMAGE_FIELD, layout.INT_FIELD]
_FIELD_NAMES = ["image", "label"]

# The options that decide the file's content. The others (workers, folder, overwrite) stay out of the
# manifest, so that the file does not depend on them.
_SETTINGS = (
    "format",
    "max_resolution",
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
    jpeg: int
    raw: int
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
    """layout.MODE_JPEG or MODE_RAW for each sample: a function of format, seed and the sample's number."""
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
    sample = layout.sample_dtype(_FIELD_TYPES)
    samples = np.zeros(len(source), sample)
    samples["f1"] = source.labels
    table = np.zeros(len(source), layout.ALLOCATION)
    table["sample_id"] = np.arange(len(source))

    page_size = output.page_size * 2**20
    header_bytes = layout.HEADER.itemsize + len(_FIELD_TYPES) * layout.FIELD.itemsize
    cursor = PageCursor(layout.align_up(header_bytes + samples.nbytes, page_size), page_size)
    settings = EncodeSettings(
        max_resolution=output.max_resolution, jpeg_quality=output.jpeg_quality, max_bytes=page_size
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
            first = here.stop
            progress.update(len(records.sizes), cursor.offset)

    manifest = _manifest(source, split, modes, output)
    total = _write_ends(file, cursor.offset, page_size, samples, table, manifest)
    return Written(
        samples=len(source),
        classes=len(source.classes),
        jpeg=manifest.counts["jpeg"],
        raw=manifest.counts["raw"],
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


def _write_ends(
    file: BinaryIO,
    offset: int,
    page_size: int,
    samples: NDArray[np.void],
    table: NDArray[np.void],
    manifest: Manifest,
) -> int:
    """Write what follows the records, from `offset` on, and what precedes them; returns the file's size."""
    packed = manifest.to_bytes()
    record = np.zeros(1, layout.MANIFEST_RECORD)
    record[0] = (layout.MANIFEST_MAGIC, layout.MANIFEST_VERSION, zlib.crc32(packed), offset, len(packed))
    file.seek(offset)
    file.write(packed)
    file.write(table.tobytes())
    total = file.tell()

    fields = np.zeros(len(_FIELD_TYPES), layout.FIELD)
    for place, (name, type_id) in enumerate(zip(_FIELD_NAMES, _FIELD_TYPES, strict=True)):
        fields[place]["type_id"] = type_id
        fields[place]["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
    label = fields[_FIELD_NAMES.index("label")]
    label["arguments"][: record.nbytes] = np.frombuffer(record.tobytes(), np.uint8)

    header = np.zeros(1, layout.HEADER)
    header[0] = (layout.VERSION, len(fields), page_size, len(samples), offset + len(packed))
    file.seek(0)
    for part in (header, fields, samples):
        file.write(part.tobytes())
    return total


def _manifest(source: Source, split: Split, modes: NDArray[np.uint8], output: OutputConfig) -> Manifest:
    jpeg = int((modes == layout.MODE_JPEG).sum())
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
        counts={"samples": len(source), "jpeg": jpeg, "raw": len(source) - jpeg},
        created_by="write_dataset.py",
    )
