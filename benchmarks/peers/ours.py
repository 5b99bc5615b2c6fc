"""Our own loader, set up as the trainer sets it up."""

from collections.abc import Iterator

import numpy as np

from engine.train.host import keep_freed_memory, limit_spinning

# ruff: noqa: E402
# As train_imagenet.py does: it has an effect only before torch is imported.
limit_spinning()

import torch

from benchmarks.peers.base import Batch, Task
from engine.data.beton import open_beton
from engine.data.crops import CenterCrop, RandomResizedCrop
from engine.data.loader import Loader
from engine.data.order import train_batches


class _Ours:
    settings = "engine.data.loader.Loader as the trainer opens it (on the CPU with engine.train.host)"

    def __init__(self, task: Task) -> None:
        self._task = task
        torch.set_num_threads(task.cores)
        if task.device == "cpu":
            keep_freed_memory()
        self._loader = Loader(
            open_beton(task.beton),
            device=torch.device(task.device),
            dtype=getattr(torch, task.dtype),
            channels_last=True,
            workers=task.cores,
        )

    def epoch(self, number: int, batches: int) -> Iterator[Batch]:
        task, total = self._task, batches * self._task.batch
        order = train_batches(
            total, seed=0, epoch=number, global_batch=task.batch, accumulation=1, rank=0, world=1
        )
        ids = task.epoch_ids(batches)[order[:, 0]]
        law = RandomResizedCrop(seed=0, epoch=number, min_scale=task.scale[0], max_scale=task.scale[1])
        for batch in self._loader.batches(ids, task.resolution, law):
            yield batch.images, batch.labels

    def centre_crops(self, count: int) -> Batch:
        ids = np.arange(count, dtype=np.int64)
        (batch,) = self._loader.batches([ids], self._task.resolution, CenterCrop(ratio=1.0))
        return batch.images, batch.labels


def open_side(task: Task) -> _Ours:
    """Our loader on the task's file."""
    return _Ours(task)
