"""litdata: chunks of a local folder read by StreamingDataset, decoded in a DataLoader's workers.

In favour of the peer, as its documentation recommends: chunks of 64 MB with the JPEG data as they are, shuffled by
chunk and within it, a local folder read in place, as many persistent workers as cores.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import (
    WORDS,
    Decode,
    Finish,
    Part,
    Transform,
    centre_crop,
    one_thread,
    random_crop,
)

# By name, so that type checks don't depend on what is installed.
litdata: Any = importlib.import_module("litdata")


class _LitData:
    def __init__(self, task: Task) -> None:
        one_thread()
        self._task, self._finish = task, Finish(task)
        self._loader: Any = None
        self._made: tuple[int, int] | None = None
        self.settings = (
            f"litdata {litdata.__version__}'s StreamingDataset, shuffled, {WORDS}, {task.cores} persistent workers, "
            f"{self._finish.words}, NCHW"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        if self._made != (batches, resolution):
            stream = self._stream(random_crop(self._task, resolution))
            part = Part(stream.__iter__, batches, self._task.batch)
            self._loader = self._open(part, drop_last=True)
            self._made = (batches, resolution)
        return self._labels(self._loader)

    def one_pass(self) -> Iterator[torch.Tensor]:
        return self._labels(self._open(self._stream(random_crop(self._task, self._task.resolution))))

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted = {sample: row for row, sample in enumerate(self._task.spread_ids(count).tolist())}
        pixels = np.empty((count, 3, self._task.resolution, self._task.resolution), np.float32)
        labels = np.empty(count, np.int64)
        decode = Decode(centre_crop(self._task.resolution))
        for sample in litdata.StreamingDataset(str(self._task.folder)):
            row = wanted.pop(sample["sample"], None)
            if row is not None:
                pixels[row], labels[row] = decode(sample["image"]).numpy(), sample["label"]
        if wanted:
            raise RuntimeError(f"{len(wanted)} samples are in no chunk")
        return pixels, labels

    def _stream(self, transform: Transform) -> Any:
        decode = Decode(transform)
        stream = litdata.StreamingDataset(
            str(self._task.folder),
            shuffle=True,
            transform=lambda sample: (decode(sample["image"]), sample["label"]),
        )
        # As its StreamingDataLoader does.
        stream.set_batch_size(self._task.batch)
        stream.set_num_workers(self._task.cores)
        return stream

    def _open(self, stream: Any, *, drop_last: bool = False) -> Any:
        loader = DataLoader if drop_last else litdata.StreamingDataLoader
        return loader(
            stream,
            batch_size=self._task.batch,
            drop_last=drop_last,
            num_workers=self._task.cores,
            persistent_workers=True,
            pin_memory=self._task.device == "cuda",
        )

    def _labels(self, loader: Any) -> Iterator[torch.Tensor]:
        for images, labels in loader:
            self._finish(images)
            yield labels


def open_side(task: Task) -> _LitData:
    """litdata on the task's chunks."""
    return _LitData(task)
