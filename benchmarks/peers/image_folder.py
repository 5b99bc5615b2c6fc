"""What the peers share that read single files by torchvision's ImageFolder and torch's DataLoader.

In favour of the peer, as torch's performance guide has it: as many worker processes as there are cores, which stay
from epoch to epoch (persistent_workers), and pinned memory where a GPU is fed. Each worker decodes in one thread.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from benchmarks.peers.base import Task
from benchmarks.peers.finish import Finish, one_thread

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
