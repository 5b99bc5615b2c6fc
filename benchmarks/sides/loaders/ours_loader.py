"""Our own loader, set up as the trainer sets it up."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.train.ranks.process import keep_freed_memory, limit_spinning

# ruff: noqa: E402
# As train_imagenet.py does: it has an effect only before torch is imported.
limit_spinning()

import torch

from benchmarks.sides.task import Task
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import MEAN, STD, Loader
from engine.data.sampling.crops import CenterCrop, RandomResizedCrop
from engine.data.sampling.order import epoch_permutation


class _Ours:
    def __init__(self, task: Task, decoder: str) -> None:
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
            decoder=decoder,
        )
        unfinished = task.form == "host" and decoder == "packed"
        how = "crops are packed on the CPU and not finished" if unfinished else self._loader.decoder[1]
        trainer = "else as the trainer opens it (on the CPU with engine.train.ranks.process)"
        self.settings = f"engine.data.loading.loader.Loader, {how}, {trainer}"

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[torch.Tensor]:
        task = self._task
        ids = task.epoch_ids(batches)
        order = epoch_permutation(len(ids), seed=0, epoch=number).reshape(batches, task.batch)
        return self._batches(list(ids[order]), number, resolution)

    def one_pass(self) -> Iterator[torch.Tensor]:
        task = self._task
        order = epoch_permutation(task.num_samples, seed=0, epoch=0)
        starts = range(0, len(order), task.batch)
        return self._batches([order[start : start + task.batch] for start in starts], 0, task.resolution)

    def _batches(self, ids: list[NDArray[np.int64]], number: int, resolution: int) -> Iterator[torch.Tensor]:
        task = self._task
        law = RandomResizedCrop(seed=0, epoch=number, min_scale=task.scale[0], max_scale=task.scale[1])
        give = self._loader.host_batches if task.form == "host" else self._loader.batches
        for batch in give(ids, resolution, law):
            yield batch.labels

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        # Finished batches whatever the task's form: packed crops have no pixels to compare yet.
        ids = self._task.spread_ids(count)
        (batch,) = self._loader.batches([ids], self._task.resolution, CenterCrop(ratio=1.0))
        scale, shift = (torch.tensor(values).view(1, 3, 1, 1) for values in (STD, MEAN))
        levels = batch.images.float().cpu() * scale + shift
        return levels.numpy(), batch.labels.cpu().numpy().astype(np.int64)


def open_side(task: Task, decoder: str) -> _Ours:
    """Our loader on the task's file; `decoder` as the Loader takes it."""
    return _Ours(task, decoder)
