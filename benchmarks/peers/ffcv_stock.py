"""ffcv's own Loader on the same file, set up as ffcv-imagenet sets it up, ending in the same form as ours.

ffcv keeps one set of samples for a Loader's life, so another length of epoch is another Loader, compiled
anew; the benchmark's warm-up pays for that. Its crops and flips come from generators without a seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import CenterCropRGBImageDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToDevice, ToTensor, ToTorchImage

from benchmarks.peers.base import Batch, Task
from engine.data.loader import MEAN, STD


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
        self._loader: Any = None
        self._batches = 0
        finish = "a module on the GPU" if task.device == "cuda" else "its NormalizeImage"
        self.settings = f"ffcv.loader.Loader, os_cache=True, OrderOption.RANDOM, normalised by {finish}"

    def epoch(self, number: int, batches: int) -> Iterator[Batch]:
        if self._loader is None or self._batches != batches:
            size, ids = (self._task.resolution,) * 2, self._task.epoch_ids(batches)
            decoder = RandomResizedCropRGBImageDecoder(size, scale=self._task.scale)
            self._loader = self._open([decoder, RandomHorizontalFlip()], ids, OrderOption.RANDOM)
            self._batches = batches
        return iter(self._loader)

    def centre_crops(self, count: int) -> Batch:
        decoder = CenterCropRGBImageDecoder((self._task.resolution,) * 2, ratio=1.0)
        loader = self._open([decoder], np.arange(count), OrderOption.SEQUENTIAL, batch=count)
        ((images, labels),) = loader
        return images, labels

    def _open(self, decode: list[Any], ids: Any, order: Any, batch: int | None = None) -> Any:
        task = self._task
        device = torch.device(task.device)
        if task.device == "cuda":
            to_device = [ToTensor(), ToDevice(device, non_blocking=True)]
            finish = [*to_device, ToTorchImage(), _Normalise(task.device, getattr(torch, task.dtype))]
        else:
            to_device = [ToTensor()]
            # Compiled and parallel like the decoder before it: ffcv's fastest way on a CPU.
            normalise = NormalizeImage(np.array(MEAN), np.array(STD), np.dtype(task.dtype).type)
            finish = [normalise, *to_device, ToTorchImage()]
        return Loader(
            str(task.beton),
            batch_size=batch or task.batch,
            num_workers=task.cores,
            os_cache=True,
            order=order,
            indices=ids,
            pipelines={"image": [*decode, *finish], "label": [IntDecoder(), *to_device, Squeeze()]},
        )


def open_side(task: Task) -> _Ffcv:
    """Stock ffcv on the task's file."""
    return _Ffcv(task)
