"""Parts that several peers share where their batches are torch tensors: crops, streams cut to a length, finishing.

None is used where a peer brings its own. The crops are those of torchvision's faster way: torchvision.io to uint8
tensors, then the v2 transforms, with antialiasing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from benchmarks.sides.task import Task
from engine.data.loading.loader import MEAN, STD

WORDS = "torchvision.io.decode_jpeg, v2.RandomResizedCrop on uint8 tensors with antialiasing, v2.RandomHorizontalFlip"

Transform = Callable[[torch.Tensor], torch.Tensor]


class Decode:
    """JPEG data -> uint8 (3, side, side)."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, data: bytes) -> torch.Tensor:
        # A copy: torch would warn of memory that can't be written to.
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return self._transform(decode_jpeg(encoded, mode=ImageReadMode.RGB))


def random_crop(task: Task, side: int) -> Transform:
    """Cropped by the task's law and flipped at random."""
    crop: Transform = v2.Compose(
        [v2.RandomResizedCrop(side, scale=task.scale, antialias=True), v2.RandomHorizontalFlip()]
    )
    return crop


def centre_crop(side: int) -> Transform:
    """The centred square of the whole short side."""
    crop: Transform = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(side)])
    return crop


class Part(IterableDataset[Any]):
    """`batches` batches of the stream that `again` opens, over and over: this worker's share of them.

    Loaders that read shards in order have no epoch of a given length; without this their workers would read on in
    the other side's turn.
    """

    def __init__(self, again: Callable[[], Iterable[Any]], batches: int, each: int) -> None:
        """`each`: items of the stream in a batch."""
        self._again, self._batches, self._each = again, batches, each

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        left = (self._batches // workers + (number < self._batches % workers)) * self._each
        while left:
            before = left
            for item in self._again():
                yield item
                left -= 1
                if not left:
                    return
            if left == before:
                raise RuntimeError("the stream is empty: fewer shards than workers")


def one_thread() -> None:
    """For a process whose workers decode: a second thread of torch would only spin on one of their cores."""
    torch.set_num_threads(1)


class Finish:
    """From a uint8 batch on the host to the task's form, the whole batch at once, by our loader's arithmetic.

    Normalised, in channels_last order; for "host" as it is.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._mean = torch.tensor(MEAN, device=task.device).view(1, 3, 1, 1)
        self._inverse_std = (1 / torch.tensor(STD, device=task.device)).view(1, 3, 1, 1)

    @property
    def words(self) -> str:
        """What it does, for a side's settings."""
        where = "on the GPU" if self._task.device == "cuda" else "in the main process"
        return "uint8 as they are" if self._task.form == "host" else f"normalised as a batch {where}"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """`images`: uint8 of shape (n, 3, side, side) in any memory order."""
        if self._task.form == "host":
            return images
        on_device = images.to(self._task.device, non_blocking=True)
        floats = on_device.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(self._mean).mul_(self._inverse_std).to(getattr(torch, self._task.dtype))
