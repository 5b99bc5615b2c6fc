"""A pool of threads that decode a batch in slices, without the GIL, and name a sample that can't be decoded.

Slices are handed out as threads become free; because crops and order are pure functions, neither their
number nor their timing shows in the result.
"""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.beton import Beton
from engine.data.crops import HEIGHT, LEFT, TOP, WIDTH, CropLaw
from engine.data.decoders.libffcv import JpegHandle
from engine.data.decoders.rgb_image import BAD_JPEG, OK, REASONS, decode_slice
from engine.data.layout import MODE_JPEG
from engine.errors import UserError

# Slices per thread and batch: enough that one slow slice does not leave the other threads idle for long.
_SLICES_PER_THREAD = 4


class DecodePool:
    """Decodes batches of one `.beton`. `close()` (or leaving the `with` block) ends its threads."""

    def __init__(self, beton: Beton, workers: int) -> None:
        self.beton = beton
        self.workers = workers
        self._memory = beton.memory()
        self._heights = np.ascontiguousarray(beton.images["height"]).astype(np.int64)
        self._widths = np.ascontiguousarray(beton.images["width"]).astype(np.int64)
        jpegs = beton.images["mode"] == MODE_JPEG
        pixels = self._heights[jpegs] * self._widths[jpegs]
        self._scratch_bytes = int(pixels.max()) * 3 if len(pixels) else 1
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def decode(self, ids: NDArray[np.int64], crop: CropLaw, out: NDArray[np.uint8]) -> None:
        """Fill out, uint8 of shape (len(ids), resolution, resolution, 3), in C order.

        Raises UserError for a corrupt sample and IndexError for an id that the file does not have.
        """
        # One type and layout, whatever the caller's: for another the kernels would be compiled anew.
        ids = np.ascontiguousarray(ids, np.int64)
        self._check(ids, out)
        boxes = self._boxes(ids, crop)
        status = np.empty(len(ids), np.uint8)
        step = max(1, -(-len(ids) // (self.workers * _SLICES_PER_THREAD)))
        slices = [
            self._threads.submit(
                self._decode_slice, ids, boxes, start, min(start + step, len(ids)), out, status
            )
            for start in range(0, len(ids), step)
        ]
        # All of them, also when one fails: none may still write to `out` when this returns.
        wait(slices)
        for part in slices:
            part.result()
        if (status != OK).any():
            row = int(np.flatnonzero(status != OK)[0])
            self._refuse(int(ids[row]), int(status[row]))

    def _check(self, ids: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """The kernel writes and reads where it is told to; what it is told is checked here."""
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.beton.num_samples):
            raise IndexError(
                f"{self.beton.path} has samples 0 to {self.beton.num_samples - 1}; asked for "
                f"{ids.min()} to {ids.max()}"
            )
        if out.shape != (len(ids), *out.shape[1:3], 3) or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"{len(ids)} images can't be decoded into {out.dtype} of shape {out.shape}")

    def _boxes(self, ids: NDArray[np.int64], crop: CropLaw) -> NDArray[np.int32]:
        heights, widths = self._heights[ids], self._widths[ids]
        boxes = np.ascontiguousarray(crop.boxes(ids, heights, widths), np.int32)
        top, left, height, width = (boxes[:, column] for column in (TOP, LEFT, HEIGHT, WIDTH))
        outside = (top < 0) | (left < 0) | (top + height > heights) | (left + width > widths)
        if (outside | (height < 1) | (width < 1)).any():
            # OpenCV would end the process.
            raise ValueError(f"{crop} cuts outside the image")
        return boxes

    def _decode_slice(
        self,
        ids: NDArray[np.int64],
        boxes: NDArray[np.int32],
        start: int,
        stop: int,
        out: NDArray[np.uint8],
        status: NDArray[np.uint8],
    ) -> None:
        handle, scratch = self._of_this_thread()
        decode_slice(
            self._memory,
            self.beton.images,
            self.beton.sizes,
            ids,
            boxes,
            start,
            stop,
            handle.address,
            scratch,
            out,
            status,
        )

    def _of_this_thread(self) -> tuple[JpegHandle, NDArray[np.uint8]]:
        if not hasattr(self._local, "handle"):
            self._local.handle = JpegHandle()
            self._local.scratch = np.empty(self._scratch_bytes, np.uint8)
        return self._local.handle, self._local.scratch

    def _refuse(self, sample: int, status: int) -> None:
        reason = REASONS[status]
        if status == BAD_JPEG:
            reason += f" ({self._decoder_message(sample)})"
        manifest = self.beton.manifest
        name = f" ({manifest.ids[sample]})" if manifest else ""
        raise UserError(
            f"{self.beton.path}: sample {sample}{name} can't be used: {reason}; write the file again from "
            "its source"
        )

    def _decoder_message(self, sample: int) -> str:
        """Decode the sample once more, alone and in this thread, for libjpeg-turbo's own words on it."""
        handle, scratch = JpegHandle(), np.empty(self._scratch_bytes, np.uint8)
        # One pixel is asked for, since OpenCV ends the process over a crop of none.
        ids, boxes = np.array([sample], np.int64), np.array([[0, 0, 1, 1, 0]], np.int32)
        out, status = np.empty((1, 1, 1, 3), np.uint8), np.empty(1, np.uint8)
        arguments: tuple[Any, ...] = (self._memory, self.beton.images, self.beton.sizes, ids, boxes, 0, 1)
        decode_slice(*arguments, handle.address, scratch, out, status)
        return handle.last_error()

    def close(self) -> None:
        """End the threads; work in progress is finished first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
