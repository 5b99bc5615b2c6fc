"""A chunk of images on its way through a worker process: what the worker is sent, what it sends back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data import layout
from engine.data.checksum import crc32
from engine.data.record import RecordSettings, make_record
from engine.data.sources.base import Reader
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chunk of work: which images, and how each is stored. Small enough to be sent to a process."""

    first: int
    """The first image's number in the file."""
    ids: Sequence[str]
    places: Sequence[Any] | NDArray[Any]
    modes: NDArray[np.uint8]
    """layout.MODE_JPEG, MODE_RAW or MODE_YUV420 for each image."""
    reader: Reader
    settings: RecordSettings


@dataclass(frozen=True, kw_only=True)
class Records:
    """A chunk's result: the images' metadata (data_ptr still 0), each record's bytes and crc32, the records."""

    images: NDArray[np.void]
    sizes: list[int]
    checksums: list[int]
    payload: bytes


def encode_chunk(task: Task) -> Records:
    """Read and encode the images of one chunk. Raises UserError naming the image that cannot be used."""
    images = np.zeros(len(task.ids), layout.IMAGE)
    parts: list[bytes] = []
    for row, (name, place) in enumerate(zip(task.ids, task.places, strict=True)):
        where = f"image {task.first + row} ({task.reader.where(place)})"
        try:
            outcome = make_record(task.reader.read(place), name, int(task.modes[row]), task.settings)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if outcome.rejected:
            raise UserError(f"cannot use {where}: {outcome.reason}; repair or remove it")
        images[row] = (outcome.mode, outcome.width, outcome.height, 0)
        parts.append(outcome.record)
    return Records(
        images=images,
        sizes=[len(part) for part in parts],
        checksums=[crc32(part) for part in parts],
        payload=b"".join(parts),
    )
