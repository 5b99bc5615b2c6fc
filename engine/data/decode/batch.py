"""What every decoder is given and what it says of each sample: one structure, one list of outcomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OK = 0
BAD_JPEG = 1
WRONG_SIZE = 2
UNKNOWN_MODE = 3
OUT_OF_MEMORY = 4
BAD_CHECKSUM = 5
BAD_RECORD = 6

REASONS = {
    BAD_JPEG: "its JPEG data is damaged",
    WRONG_SIZE: "its JPEG header and the file's table disagree about the image's size",
    UNKNOWN_MODE: "its storage mode is unknown",
    OUT_OF_MEMORY: "there is no memory to decode it",
    BAD_RECORD: "its data is damaged",
    BAD_CHECKSUM: "its bytes have changed since they were written (wrong checksum)",
}


@dataclass(frozen=True, kw_only=True)
class DecodeBatch:
    """Samples to decode; all arrays C-contiguous, one entry (or row) for each sample. Decoders trust it blindly."""

    memory: NDArray[np.uint8]
    """The whole file (bytes,)."""
    offsets: NDArray[np.int64]
    """Where each record starts in it."""
    sizes: NDArray[np.int64]
    """Bytes of each record."""
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    boxes: NDArray[np.int32]
    """Crops inside the image, (n, 5): engine.data.sampling.crops."""
    out: NDArray[np.uint8]
    """(n, resolution, resolution, 3), filled by the decoder."""
    status: NDArray[np.uint8]
    """(n,), filled by the decoder: OK or a key of REASONS."""
    exact: bool = False
    """Whether a JPEG is decoded at full scale, rather than at the smallest DCT scale that covers the resolution:
    Pillow's pixels to a level. Decoding photos of 500 px to 128 px took 1.14 to 1.29 times as long, to 224 px no
    longer."""

    @property
    def resolution(self) -> int:
        return self.out.shape[1]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """In the order of struct batch in native/engine.h."""
        record = (self.memory, self.offsets, self.sizes, self.heights, self.widths)
        return (*record, self.boxes, self.out, self.status)
