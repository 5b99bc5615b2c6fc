"""JPEG records decoded only to see whether they can be: what is left to check where there is no checksum."""

import threading

import numpy as np
from numpy.typing import NDArray

from engine.data import layout
from engine.data.beton import Beton
from engine.data.decoders import jpeg
from engine.data.decoders.batch import BAD_JPEG, OK, REASONS, DecodeBatch
from engine.data.decoders.native.library import library
from engine.data.decoders.workspace import Workspace
from engine.data.stretches import Stretch

# All of an image's data is gone through, however small it becomes.
_RESOLUTION = 8


class TrialDecoder:
    """Decodes as for training; several threads may use it at a time."""

    def __init__(self, beton: Beton) -> None:
        self._images = beton.images
        self._native = library()
        self._local = threading.local()

    def bad_rows(self, stretch: Stretch) -> dict[int, str]:
        """Rows of the stretch whose JPEG can't be decoded, with the reason. Other records pass."""
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace(self._native)
        workspace: Workspace = self._local.workspace
        batch, is_jpeg = self._batch(stretch)
        jpeg.decode(batch, np.flatnonzero(is_jpeg), workspace)
        reasons = {}
        for row in np.flatnonzero(batch.status != OK).tolist():
            # Once more, since the decoder's own words are about the last one that it failed at.
            jpeg.decode(batch, np.array([row]), workspace)
            status = int(batch.status[row])
            words = f" ({workspace.jpeg_message()})" if status == BAD_JPEG else ""
            reasons[row] = REASONS[status] + words
        return reasons

    def _batch(self, stretch: Stretch) -> tuple[DecodeBatch, NDArray[np.bool_]]:
        """The whole of each image; and which of them are JPEGs."""
        images = self._images[stretch.samples]
        heights, widths = (images[side].astype(np.int64) for side in ("height", "width"))
        zeros = np.zeros_like(heights)
        batch = DecodeBatch(
            memory=stretch.data,
            offsets=stretch.offsets,
            sizes=stretch.sizes,
            heights=heights,
            widths=widths,
            boxes=np.stack([zeros, zeros, heights, widths, zeros], axis=1).astype(np.int32),
            out=np.empty((len(images), _RESOLUTION, _RESOLUTION, 3), np.uint8),
            status=np.full(len(images), OK, np.uint8),
        )
        return batch, images["mode"] == layout.MODE_JPEG
