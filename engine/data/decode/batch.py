"""What every decoder is given and what it says of each sample: one structure, one list of outcomes."""

from dataclasses import dataclass, field
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
    """Crops inside the image, (n, 5): engine.data.sampling.crops. No pixel outside of them is read."""
    windows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    """What becomes the output, (n, 4): top, left, height and width inside the boxes, in pixels and fractions of them;
    by default the boxes. Pixels of the box beside it count where the resize law reaches beyond the edge."""
    out: NDArray[np.uint8]
    """(n, resolution, resolution, 3), filled by the decoder."""
    status: NDArray[np.uint8]
    """(n,), filled by the decoder: OK or a key of REASONS."""
    exact: bool = False
    """Whether a JPEG is decoded at full scale, rather than at the smallest DCT scale that covers the resolution:
    Pillow's pixels to a level. Decoding photos of 500 px to 128 px took 1.14 to 1.29 times as long, to 224 px no
    longer."""

    def __post_init__(self) -> None:
        if len(self.windows) != len(self.boxes):
            object.__setattr__(self, "windows", self.boxes[:, :4].astype(np.float64))

    @property
    def resolution(self) -> int:
        return self.out.shape[1]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """In the order of struct batch in native/engine.h."""
        record = (self.memory, self.offsets, self.sizes, self.heights, self.widths)
        return (*record, self.boxes, self.windows, self.out, self.status)
