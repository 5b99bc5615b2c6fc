"""ffcv's own Loader, set up as in ffcv-imagenet, ending in the task's form.

ffcv keeps one set of samples for a Loader's life, so another length of epoch needs another Loader, compiled again; the
benchmark's warm-up pays for that. Another resolution does not: as in ffcv-imagenet, the decoder gets it before the next
epoch. Its crops and flips come from generators without a seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToDevice, ToTensor, ToTorchImage
from numpy.typing import NDArray

from benchmarks.sides.task import Task
from engine.data.loading.loader import MEAN, STD

_FINISH = {
    "host": "left as ToTorchImage makes them",
    "cpu": "normalised by its NormalizeImage",
    "cuda": "normalised by a module on the GPU",
}


class _Normalise(torch.nn.Module):
    """Our loader's arithmetic, for the GPU: NormalizeImage would need CuPy there."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self._inverse_std = (1 / torch.tensor(STD, device=device)).view(1, 3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(torch.float32).sub_(self._mean).mul_(self._inverse_std).to(self._dtype)


class _Ffcv:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._decoder = RandomResizedCropRGBImageDecoder((task.resolution,) * 2, scale=task.scale)
        self._loader: Any = None
        self._batches = 0
        self.settings = f"ffcv.loader.Loader, os_cache=True, OrderOption.RANDOM, {_FINISH[task.form]}"

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        return (labels for _images, labels in self.training(number, batches, resolution))

    def training(
        self, number: int, batches: int, resolution: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """As `epoch`, but the finished images and their labels, for a step."""
        self._decoder.output_size = (resolution, resolution)
        if self._loader is None or self._batches != batches:
            decode = [self._decoder, RandomHorizontalFlip()]
            self._loader = self._open(decode, self._task.epoch_ids(batches), OrderOption.RANDOM)
            self._batches = batches
        yield from self._loader

    def one_pass(self) -> Iterator[torch.Tensor]:
        decode = [self._decoder, RandomHorizontalFlip()]
        ids = np.arange(self._task.num_samples)
        for _images, labels in self._open(decode, ids, OrderOption.RANDOM, drop_last=False):
            yield labels

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        task = self._task
        decoder = CenterCropRGBImageDecoder((task.resolution,) * 2, ratio=1.0)
        loader = self._open([decoder], task.spread_ids(count), OrderOption.SEQUENTIAL, batch=count)
        ((images, labels),) = loader
        levels = images.float().cpu().numpy()
        if task.form != "host":
            scale, shift = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (STD, MEAN))
            levels = levels * scale + shift
        return levels, labels.cpu().numpy().astype(np.int64)

    def _open(
        self, decode: list[Any], ids: Any, order: Any, batch: int | None = None, drop_last: bool = True
    ) -> Any:
        task = self._task
        to_device: list[Any] = [ToTensor()]
        if task.device == "cuda":
            to_device.append(ToDevice(torch.device(task.device), non_blocking=True))
        finish = [*to_device, ToTorchImage()]
        if task.form == "cuda":
            finish.append(_Normalise(task.device, getattr(torch, task.dtype)))
        elif task.form == "cpu":
            # Compiled and parallel like the decoder before it: ffcv's fastest way on a CPU.
            finish.insert(0, NormalizeImage(np.array(MEAN), np.array(STD), np.dtype(task.dtype).type))
        return Loader(
            str(task.beton),
            batch_size=batch or task.batch,
            num_workers=task.cores,
            os_cache=True,
            order=order,
            indices=ids,
            drop_last=drop_last,
            pipelines={"image": [*decode, *finish], "label": [IntDecoder(), *to_device, Squeeze()]},
        )


def open_side(task: Task) -> _Ffcv:
    """Stock ffcv on the task's file."""
    return _Ffcv(task)
