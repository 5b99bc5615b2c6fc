"""torchvision's ImageFolder and torch's DataLoader on single files, with Pillow or with torchvision.io.

`open_pil`: as torchvision's reference scripts use the PIL backend. RandomResizedCrop cuts before it resizes, bilinear
and antialiased; the pixels become a uint8 tensor at the end, which spares the workers the conversion to float.
`open_io`: decode_jpeg, then the v2 transforms on uint8 tensors with antialiasing, as their documentation recommends.

In favour of the peer, as torch's performance guide recommends: as many worker processes as cores, kept from epoch to
epoch (persistent_workers), pinned memory where a GPU is fed, one decoding thread for each worker.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import WORDS, Finish, centre_crop, one_thread, random_crop

Transform = Callable[[Any], torch.Tensor]


class FolderSide:
    """One way to read and to crop. `read` takes a path, the transforms what it gives, to uint8 (3, side, side)."""

    def __init__(
        self,
        task: Task,
        *,
        read: Callable[[str], Any],
        random_crop: Callable[[int], Transform],
        centre_crop: Callable[[int], Transform],
        how: str,
    ) -> None:
        assert task.folder is not None
        one_thread()
        self._task, self._random_crop, self._centre_crop = task, random_crop, centre_crop
        self._finish = Finish(task)
        self._images = ImageFolder(str(task.folder), loader=read)
        names = self._images.classes
        self._images.target_transform = lambda index: int(names[index])
        # The folder's order is not the samples'.
        numbers = [int(Path(path).stem) for path, _ in self._images.samples]
        self._places = np.argsort(np.array(numbers))
        self._loader: Any = None
        self._ready = torch.empty(0)
        self._made: tuple[int, int] | None = None
        self.settings = (
            f"{how}; ImageFolder, DataLoader with {task.cores} persistent workers, {self._finish.words}, NCHW"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        if self._made != (batches, resolution):
            self._loader = self._open(self._task.epoch_ids(batches), self._random_crop(resolution))
            self._made = (batches, resolution)
        return self._labels(self._loader)

    def training(
        self, number: int, batches: int, resolution: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """As `epoch`, but the finished images and their labels, for a step."""
        labels = self.epoch(number, batches, resolution)
        return ((self._ready, each) for each in labels)

    def one_pass(self) -> Iterator[torch.Tensor]:
        crop = self._random_crop(self._task.resolution)
        return self._labels(self._open(np.arange(self._task.num_samples), crop, drop_last=False))

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        crop = self._centre_crop(self._task.resolution)
        loader = self._open(self._task.spread_ids(count), crop, batch=count, shuffle=False)
        ((images, labels),) = loader
        return images.numpy().astype(np.float32), labels.numpy()

    def _labels(self, loader: Any) -> Iterator[torch.Tensor]:
        for images, labels in loader:
            self._ready = self._finish(images)
            yield labels

    def _open(
        self,
        ids: NDArray[np.int64],
        transform: Transform,
        batch: int | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
    ) -> Any:
        images = ImageFolder.__new__(ImageFolder)
        images.__dict__.update(self._images.__dict__, transform=transform)
        return DataLoader(
            Subset(images, self._places[ids].tolist()),
            batch_size=batch or self._task.batch,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self._task.cores,
            persistent_workers=True,
            pin_memory=self._task.device == "cuda",
        )


def _read(path: str) -> torch.Tensor:
    image: torch.Tensor = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
    return image


def open_io(task: Task) -> FolderSide:
    """torchvision without Pillow on the task's files."""
    return FolderSide(
        task,
        read=_read,
        random_crop=lambda side: random_crop(task, side),
        centre_crop=centre_crop,
        how=WORDS,
    )


def open_pil(task: Task) -> FolderSide:
    """torchvision with Pillow on the task's files."""
    return FolderSide(
        task,
        read=default_loader,
        random_crop=lambda side: v2.Compose(
            [v2.RandomResizedCrop(side, scale=task.scale), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        ),
        # All of the short side: it is cut to the square before anything else would be resized for nothing.
        centre_crop=lambda side: v2.Compose([v2.Resize(side), v2.CenterCrop(side), v2.PILToTensor()]),
        how="PIL, v2.RandomResizedCrop bilinear with antialiasing, v2.RandomHorizontalFlip",
    )
