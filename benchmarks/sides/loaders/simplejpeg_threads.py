"""simplejpeg (libjpeg-turbo without the GIL) in a pool of threads, cut and resized by OpenCV: what one would write
by hand for speed.

In favour of the peer: an image is decoded at the least of libjpeg-turbo's scales that leaves the crop no smaller than
the output (min_factor 1, min_height and min_width), OpenCV runs in one thread for each image, and pixels go straight
into the batch. Each batch is prepared while the one before is used.
"""

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.images.exports import paths_and_labels
from benchmarks.sides.peer_crops import Crop, CropLaw
from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import Finish, one_thread

# By name, so that type checks don't depend on what is installed.
simplejpeg: Any = importlib.import_module("simplejpeg")

_AHEAD = 3


class _Threads:
    def __init__(self, task: Task) -> None:
        assert task.folder is not None
        self._task, self._finish = task, Finish(task)
        paths, labels = paths_and_labels(task.folder)
        self._paths, self._labels = [str(path) for path in paths], np.array(labels, np.int64)
        one_thread()
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(task.cores)
        self.settings = (
            f"simplejpeg {simplejpeg.__version__} at libjpeg-turbo's scales, cv2.resize (area where it shrinks, else "
            f"bilinear), {task.cores} threads, {_AHEAD} batches ahead, {self._finish.words}, NHWC"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[NDArray[np.int64]]:
        ids = np.random.default_rng(number).permutation(self._task.epoch_ids(batches))
        return self._batches(list(ids.reshape(batches, -1)), number, resolution)

    def one_pass(self) -> Iterator[NDArray[np.int64]]:
        ids = np.random.default_rng(0).permutation(self._task.num_samples)
        starts = range(0, len(ids), self._task.batch)
        return self._batches(
            [ids[start : start + self._task.batch] for start in starts], 0, self._task.resolution
        )

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        ids = self._task.spread_ids(count)
        out = np.empty((count, self._task.resolution, self._task.resolution, 3), np.uint8)
        for row, sample in enumerate(ids.tolist()):
            self._decode(sample, CropLaw(self._task, None), out[row])
        return out.transpose(0, 3, 1, 2).astype(np.float32), self._labels[ids]

    def _batches(
        self, batches: list[NDArray[np.int64]], number: int, resolution: int
    ) -> Iterator[NDArray[np.int64]]:
        law, begun, waiting = CropLaw(self._task, number), deque[_Begun](), deque(batches)
        while waiting or begun:
            while waiting and len(begun) <= _AHEAD:
                begun.append(self._begin(waiting.popleft(), law, resolution))
            ids, out, parts = begun.popleft()
            for part in parts:
                part.result()
            self._finish(torch.from_numpy(out).permute(0, 3, 1, 2))
            yield self._labels[ids]

    def _begin(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> "_Begun":
        out = np.empty((len(ids), side, side, 3), np.uint8)
        parts = [
            self._pool.submit(self._decode, sample, law, out[row]) for row, sample in enumerate(ids.tolist())
        ]
        return ids, out, parts

    def _decode(self, sample: int, law: CropLaw, out: NDArray[np.uint8]) -> None:
        with open(self._paths[sample], "rb") as file:
            data = file.read()
        crop: Crop | None = None

        def choose(height: int, width: int) -> Crop:
            nonlocal crop
            crop = law(sample, height, width)
            return crop

        pixels = decode_crop(data, choose, len(out))
        assert crop is not None
        out[:] = pixels[:, ::-1] if crop.flip else pixels


def decode_crop(data: Any, choose: Callable[[int, int], Crop], side: int) -> NDArray[np.uint8]:
    """The crop that `choose` takes of an image of (height, width), as uint8 (side, side, 3), not flipped."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    crop = choose(height, width)
    # A scale of the whole image that leaves the crop no smaller than the output, at most 1.
    least = min(1.0, max(side / crop.height, side / crop.width))
    image = simplejpeg.decode_jpeg(
        data, min_height=int(np.ceil(height * least)), min_width=int(np.ceil(width * least))
    )
    vertical, horizontal = image.shape[0] / height, image.shape[1] / width
    top, left = int(crop.top * vertical), int(crop.left * horizontal)
    bottom = max(top + 1, round((crop.top + crop.height) * vertical))
    right = max(left + 1, round((crop.left + crop.width) * horizontal))
    part = image[top:bottom, left:right]
    shrinks = part.shape[0] > side or part.shape[1] > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (side, side), interpolation=how))


_Begun = tuple[NDArray[np.int64], NDArray[np.uint8], list["Future[None]"]]


def open_side(task: Task) -> _Threads:
    """simplejpeg in threads on the task's files."""
    return _Threads(task)
