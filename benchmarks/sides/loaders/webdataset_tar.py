"""webdataset: tar shards read in order, shuffled in a buffer, decoded and batched in the workers.

In favour of the peer, as its documentation recommends: shards of shuffled samples, shards shuffled again each time and
dealt out to the workers, a shuffle buffer of undecoded samples, batches put together in the workers (batch_size=None in
the loader). As many persistent workers as cores.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from benchmarks.harness.images.exports import exported_files
from benchmarks.sides.task import Task
from benchmarks.sides.torch_batches import WORDS, Decode, Finish, Part, centre_crop, one_thread, random_crop

# By name, so that type checks don't depend on what is installed.
webdataset: Any = importlib.import_module("webdataset")

_BUFFER = 1000


class _WebDataset:
    def __init__(self, task: Task) -> None:
        assert task.folder is not None
        one_thread()
        self._task, self._finish = task, Finish(task)
        self._shards = [str(path) for path in exported_files(task.folder)]
        self._loader: Any = None
        self._made: tuple[int, int] | None = None
        self.settings = (
            f"webdataset {webdataset.__version__}, {len(self._shards)} shards, buffer of {_BUFFER}, {WORDS}, "
            f"{task.cores} persistent workers, {self._finish.words}, NCHW"
        )

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        if self._made != (batches, resolution):
            stream = self._stream(Decode(random_crop(self._task, resolution)), shuffled=True)
            stream = stream.batched(self._task.batch, partial=False)
            self._loader = self._open(Part(stream.__iter__, batches, 1))
            self._made = (batches, resolution)
        return self._labels(self._loader)

    def one_pass(self) -> Iterator[torch.Tensor]:
        stream = self._stream(Decode(random_crop(self._task, self._task.resolution)), shuffled=True)
        return self._labels(self._open(stream.batched(self._task.batch, partial=True)))

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted = {f"{sample:08d}": row for row, sample in enumerate(self._task.spread_ids(count).tolist())}
        pixels = np.empty((count, 3, self._task.resolution, self._task.resolution), np.float32)
        labels = np.empty(count, np.int64)
        decode = Decode(centre_crop(self._task.resolution))
        for sample in webdataset.WebDataset(self._shards, shardshuffle=False):
            row = wanted.pop(sample["__key__"], None)
            if row is not None:
                pixels[row], labels[row] = decode(sample["jpg"]).numpy(), int(sample["cls"])
        if wanted:
            raise RuntimeError(f"{len(wanted)} samples are in no shard")
        return pixels, labels

    def _stream(self, decode: Decode, *, shuffled: bool) -> Any:
        shards = webdataset.WebDataset(self._shards, shardshuffle=len(self._shards) if shuffled else False)
        return shards.shuffle(_BUFFER).to_tuple("jpg", "cls").map_tuple(decode, int)

    def _open(self, batches: Any) -> Any:
        return DataLoader(
            batches,
            batch_size=None,
            num_workers=self._task.cores,
            persistent_workers=True,
            pin_memory=self._task.device == "cuda",
        )

    def _labels(self, loader: Any) -> Iterator[torch.Tensor]:
        for images, labels in loader:
            self._finish(images)
            yield labels


def open_side(task: Task) -> _WebDataset:
    """webdataset on the task's shards."""
    return _WebDataset(task)
