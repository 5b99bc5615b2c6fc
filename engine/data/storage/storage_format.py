"""What a storage format is: how an image lies in a .beton, from the image's pixels to a record and back to RGB.

One object says all of it, and readers, conversions, decoders, packing, verify, extract and the contact sheet ask
that object; no other code knows a format by its name or number. docs/extending/storage.md says how to add one.

    pixels --stored_size, fit, encode--> record --wrong_sizes--> decode: crop -> RGB on the CPU
                                                            +--> packing: crop -> bytes for the device
                                                            +--> pixels: the whole image

A record whose size can't be right is refused before a decoder sees it, so that none reads into the next record.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import BAD_RECORD, WRONG_SIZE, DecodeBatch
from engine.data.decode.workspace import Workspace, resize_rgb
from engine.data.native.library import Library
from engine.data.storage.shrink import shrink, shrunk_size

if TYPE_CHECKING:
    # It brings Pillow, which opening a file has no need of.
    from engine.data.storage.jpeg_header import JpegHeader


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """How images become records; the options of the same names (engine.config.write)."""

    max_resolution: int
    """Pixels."""
    short_side: int
    """Pixels."""
    jpeg_quality: int
    jpeg_subsampling: str = "420"
    jpeg_unchanged: bool = True
    jpeg_check: bool = True
    max_bytes: int
    """Largest record that fits into the file: its page size, in bytes."""


class Packing(IntEnum):
    """How the bytes of a packed crop lie, as engine/data/gpu finishes them (engine/data/storage/packing.py)."""

    RGB = 0
    """Rows of interleaved RGB, 3 bytes a pixel."""
    YUV420 = 1
    """Y, then Cb and Cr of half the width and height, a byte for each value: regions start at even places."""


class StorageFormat(ABC):
    """One format. Subclasses set the attributes, and what is abstract here; the rest has a default that works."""

    name: ClassVar[str]
    """The value of --output.format."""
    title: ClassVar[str]
    """As messages call it, such as "YUV 4:2:0"."""
    mode: ClassVar[int]
    """The number in each image's metadata, 0 to 255; jpeg is 0, raw 1, yuv420 2."""
    magic: ClassVar[bytes] = b""
    """8 bytes that open the arguments of the file's image field; empty for the two formats of ffcv's own field."""
    version: ClassVar[int] = 1
    """Of the record's layout, beside the magic."""
    record_words: ClassVar[str] = ""
    """What `record_bytes` computes, in words, such as "width x height x 3"."""
    even_sides: ClassVar[bool] = False
    """Whether stored images have even sides."""
    max_side: ClassVar[int] = 65535
    """Most pixels a side: a file stores width and height in 16 bits."""
    limited_by: ClassVar[Literal["max_resolution", "short_side"]] = "max_resolution"
    """The option that limits the size of stored images."""
    remedy: ClassVar[str] = "lower --output.max_resolution"
    """What a user can do about an image too large to be stored."""
    suffix: ClassVar[str] = ""
    """Of a file whose content is the record; empty: an image is extracted as a PNG of its pixels."""
    shows_damage: ClassVar[bool] = False
    """Whether decoding shows damage, so that files without checksums can be verified by it."""
    packing: ClassVar[Packing | None] = None
    """How crops of it are packed for a device; None: they can't be."""

    # --- sizes, before anything is decoded

    @abstractmethod
    def record_bytes(self, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Bytes of the records of images of these sides (n,), or None where they don't follow from the sides.

        Where it is None, `to_rgb` and `decode_rows` have to stay within the record by themselves.
        """

    def wrong_sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which records (n,) can't be those of images of these sides. All three are int64; nothing is read."""
        wanted = self.record_bytes(heights, widths)
        wrong = sizes <= 0 if wanted is None else sizes != wanted
        return wrong | self._odd(heights, widths) if self.even_sides else wrong

    def faults(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.bool_], str]]:
        """What `wrong_sizes` finds, by kind, each with words to put behind "sample 5 "."""
        if self.even_sides:
            yield self._odd(heights, widths), f"is {self.title} with an odd side"
        wrong = self.wrong_sizes(heights, widths, sizes)
        yield wrong, f"is {self.title}, but its bytes are not {self.record_words}"

    @staticmethod
    def _odd(heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.bool_]:
        odd: NDArray[np.bool_] = (heights | widths) % 2 == 1
        return odd

    @property
    def wrong_size_reason(self) -> str:
        """Why a record is refused as WRONG_SIZE, in words."""
        return f"its record is not of {self.record_words} bytes"

    # --- conversion

    def stored_size(self, width: int, height: int, settings: EncodeSettings) -> tuple[int, int]:
        """Width and height in which an image of this size is stored."""
        return shrunk_size(width, height, settings.max_resolution)

    def fit(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> NDArray[np.uint8]:
        """The image, (height, width, 3), in its `stored_size`."""
        return shrink(pixels, settings.max_resolution)

    @abstractmethod
    def encode(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> bytes:
        """The record of an RGB image, uint8 (height, width, 3), of its stored size.

        Raises UserError for one that can't be encoded.
        """

    def keeps(self, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings) -> bool:
        """Whether `from_jpeg` stores this JPEG with its own data, coefficient by coefficient."""
        return False

    def from_jpeg(
        self, content: bytes, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings
    ) -> bytes | None:
        """The record of a JPEG file in this size (width, height), without a way through RGB in Python; None: there is
        no such way, and `encode` is used.

        Raises DamagedError, and TooLargeError for more than settings.max_bytes.
        """
        return None

    # --- decoding

    @abstractmethod
    def to_rgb(self, record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """The whole image, RGB uint8 (height, width, 3), of a record (bytes,) whose size is right.

        Raises ValueError, saying what is damaged, where it can't be decoded.
        """

    def pixels(self, record: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """As `to_rgb`, of a record of any size. Raises ValueError also for one of the wrong size."""
        sides = np.array([height], np.int64), np.array([width], np.int64)
        if self.wrong_sizes(*sides, np.array([len(record)], np.int64))[0]:
            raise ValueError(self.wrong_size_reason)
        return self.to_rgb(np.frombuffer(record, np.uint8), height, width)

    def decode(self, batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
        """Fill batch.out and batch.status for these rows: crop, resize to RGB, flip. May be called by many threads.

        A record of the wrong size gets the status WRONG_SIZE and is not read.
        """
        wrong = self.wrong_sizes(batch.heights[rows], batch.widths[rows], batch.sizes[rows])
        if wrong.any():
            batch.status[rows[wrong]] = WRONG_SIZE
            rows = rows[~wrong]
        if len(rows):
            self.decode_rows(batch, rows, workspace)

    def decode_rows(self, batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
        """As `decode`, for records of the right size. By default each whole image goes through `to_rgb`: simple, and
        slow, since Python's lock is held."""
        for row in rows.tolist():
            height, width = int(batch.heights[row]), int(batch.widths[row])
            start, size = int(batch.offsets[row]), int(batch.sizes[row])
            try:
                rgb = self.to_rgb(batch.memory[start : start + size], height, width)
            except ValueError:
                batch.status[row] = BAD_RECORD
                continue
            memory = np.ascontiguousarray(rgb).reshape(-1)
            # As a mapped file is: for memory of another kind numba would compile the resize anew.
            memory.flags.writeable = False
            alone = DecodeBatch(
                memory=memory,
                offsets=np.zeros(1, np.int64),
                sizes=np.array([rgb.size], np.int64),
                heights=batch.heights[row : row + 1],
                widths=batch.widths[row : row + 1],
                boxes=batch.boxes[row : row + 1],
                windows=batch.windows[row : row + 1],
                out=batch.out[row : row + 1],
                status=batch.status[row : row + 1],
            )
            resize_rgb(alone, np.zeros(1, np.int64), workspace)

    def is_in_c(self, native: Library | None) -> bool:
        """Whether `decode` does its work in the C library."""
        return native is not None
