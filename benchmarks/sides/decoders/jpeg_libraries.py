"""Other libraries' JPEG decoders on the same JPEG data, with our crops, in a pool of threads.

Each in its fastest way that leaves the crop no smaller than the output: Pillow's draft mode and box in resize (reducing
gap 2, as its documentation advises for speed), simplejpeg at libjpeg-turbo's scales, OpenCV reduced by a whole factor
where that fits, torchvision.io whole.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.decoders.decoder_side import DecoderSide
from benchmarks.sides.peer_crops import Crop, boxes
from benchmarks.sides.task import Task
from engine.data.beton.reader import open_beton
from engine.data.sampling.crops import CropLaw

DecodeOne = Callable[[NDArray[np.uint8], Crop, int], NDArray[np.uint8]]

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


class FromBytes:
    """Decodes by a function of (JPEG data, crop, side) to uint8 (side, side, 3)."""

    def __init__(self, task: Task, by: str, decode: DecodeOne) -> None:
        self._decode = decode
        beton = open_beton(task.beton)
        self._memory, self._images, self._sizes = beton.memory(), beton.images, beton.sizes
        self._pool = ThreadPoolExecutor(task.cores)
        cv2.setNumThreads(1)
        self._out = np.empty(0, np.uint8)
        self.settings = f"{by} in {task.cores} threads, crops by our law, each image into the batch"

    def decode(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8]:
        size = len(ids) * side * side * 3
        if len(self._out) < size:
            self._out = np.empty(size, np.uint8)
        out = self._out[:size].reshape(len(ids), side, side, 3)
        crops = boxes(law, ids, self._images["height"][ids], self._images["width"][ids])

        def one(row: int) -> None:
            sample = ids[row]
            start = int(self._images["data_ptr"][sample])
            jpeg = self._memory[start : start + int(self._sizes[sample])]
            crop = crops[row]
            pixels = self._decode(jpeg, crop, side)
            out[row] = pixels[:, ::-1] if crop.flip else pixels

        for done in [self._pool.submit(one, row) for row in range(len(ids))]:
            done.result()
        return out

    finished = decode


def _pillow() -> DecodeOne:
    from PIL import Image

    def decode(jpeg: NDArray[np.uint8], crop: Crop, side: int) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(jpeg.tobytes())) as image:
            width, height = image.size
            least = min(1.0, max(side / crop.height, side / crop.width))
            image.draft("RGB", (int(np.ceil(width * least)), int(np.ceil(height * least))))
            rgb = image.convert("RGB")
            across, down = rgb.width / width, rgb.height / height
            left, top = crop.left * across, crop.top * down
            box = (left, top, left + crop.width * across, top + crop.height * down)
            return np.asarray(rgb.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))

    return decode


def _torchvision() -> DecodeOne:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    # Threads of the pool are the parallel part.
    torch.set_num_threads(1)

    def decode(jpeg: NDArray[np.uint8], crop: Crop, side: int) -> NDArray[np.uint8]:
        image = decode_jpeg(torch.from_numpy(jpeg.copy()), mode=ImageReadMode.RGB)
        part = functional.resized_crop(
            image, crop.top, crop.left, crop.height, crop.width, [side, side], antialias=True
        )
        pixels: NDArray[np.uint8] = part.permute(1, 2, 0).numpy()
        return pixels

    return decode


def _simplejpeg() -> DecodeOne:
    from benchmarks.sides.loaders.simplejpeg_threads import decode_crop

    return lambda jpeg, crop, side: decode_crop(jpeg, lambda height, width: crop, side)


def opencv(jpeg: NDArray[np.uint8], crop: Crop, side: int) -> NDArray[np.uint8]:
    factor = min(crop.height, crop.width) // side
    # The largest of 2, 4 and 8 that fits.
    reduced = max((each for each in _REDUCED if each <= factor), default=1)
    image = cv2.imdecode(jpeg, _REDUCED.get(reduced, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise RuntimeError("OpenCV can't decode it")
    top, left = crop.top // reduced, crop.left // reduced
    bottom = max(top + 1, (crop.top + crop.height) // reduced)
    part = image[top:bottom, left : max(left + 1, (crop.left + crop.width) // reduced)]
    shrinks = part.shape[0] > side or part.shape[1] > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.cvtColor(cv2.resize(part, (side, side), interpolation=how), cv2.COLOR_BGR2RGB))


def open_pillow(task: Task) -> DecoderSide:
    """Pillow on the task's JPEG data."""
    return DecoderSide(task, FromBytes(task, "pillow", _pillow()))


def open_torchvision(task: Task) -> DecoderSide:
    """torchvision.io on the task's JPEG data."""
    return DecoderSide(task, FromBytes(task, "torchvision-io", _torchvision()))


def open_simplejpeg(task: Task) -> DecoderSide:
    """simplejpeg on the task's JPEG data."""
    return DecoderSide(task, FromBytes(task, "simplejpeg", _simplejpeg()))


def open_opencv(task: Task) -> DecoderSide:
    """OpenCV on the task's JPEG data."""
    return DecoderSide(task, FromBytes(task, "opencv", opencv))
