"""One split -> one .beton that stock ffcv reads as well. Encoding is spread over processes; writing is not.

The parent lays the records into pages in the samples' order and writes them one after the other, so the file
is the same for any number of workers and the disk is written sequentially. ffcv's own DatasetWriter is not
used: it waits for ever once a worker has died, and its file's order depends on the workers' timing.
"""

import importlib.metadata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

import engine
from engine.config.write_schema import OutputConfig
from engine.data import layout
from engine.data.beton_writer import BetonWriter, image_fields
from engine.data.chunk import Task
from engine.data.manifest import Manifest
from engine.data.progress import Progress
from engine.data.record import RecordSettings
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
    page_size = output.page_size * 2**20
    fields = image_fields(output.format == "yuv420", output.short_side, output.max_resolution)
    writer = BetonWriter(file, fields, page_size, len(source))
    labels = np.asarray(source.labels, np.int64)
    settings = RecordSettings(
        max_resolution=output.max_resolution,
        short_side=output.short_side,
        jpeg_quality=output.jpeg_quality,
        max_bytes=page_size,
    )
    chunks = encode_in_order(_tasks(source, modes, settings), output.num_workers or default_workers())
    # Closed at once on an error here, a full disk for example, so that no worker outlives it.
    with closing(chunks), Progress(split, len(source)) as progress:
        for records in chunks:
            of_these = labels[writer.count : writer.count + len(records.sizes)]
            writer.append(records.images, of_these, records.sizes, records.checksums, records.payload)
            progress.update(len(records.sizes), writer.offset)
    total = writer.finish(_manifest(source, split, modes, output))
    return Written(
        samples=len(source),
        classes=len(source.classes),
        modes=layout.describe_modes(modes),
        bytes=total,
        seconds=progress.seconds,
    )


def _tasks(source: Source, modes: NDArray[np.uint8], settings: RecordSettings) -> Iterator[Task]:
    for first in range(0, len(source), _CHUNK):
        here = slice(first, first + _CHUNK)
        yield Task(
            first=first,
            ids=source.ids[here],
            places=source.places[here],
            modes=modes[here],
            reader=source.reader,
            settings=settings,
        )


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
