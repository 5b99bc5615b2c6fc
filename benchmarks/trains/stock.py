"""Another project's loader (benchmarks.peers) and its training step (benchmarks.steps), one after the other."""

import importlib
import itertools
import time
from typing import Any

import torch

from benchmarks.steps import STEPS
from benchmarks.trains import TrainTask

# Whose step: the module of its loader. Both sides' batches end normalised on the device.
_LOADERS = {
    "ffcv-imagenet": "benchmarks.peers.ffcv_stock",
    "torchvision": "benchmarks.peers.torchvision_io",
}


class _Stock:
    def __init__(self, task: TrainTask, which: str) -> None:
        self._task = task
        self._loader: Any = importlib.import_module(_LOADERS[which]).open_side(task.images)
        # After the loader: it leaves torch one thread, the step takes all.
        self._step: Any = importlib.import_module(STEPS[which].module).open_step(task.step)
        self._numbers = itertools.count()
        self.settings = f"{self._loader.settings}; step: {self._step.settings}"

    def epoch(self) -> float:
        """Seconds of the next epoch. Raises RuntimeError where the loss is not finite after it."""
        task, step = self._task, self._step
        self._wait()
        begin = time.perf_counter()
        loss = torch.zeros(())
        for images, labels in self._loader.training(next(self._numbers), task.steps, task.images.resolution):
            given = images.to(task.device, step.dtype, memory_format=step.layout)
            loss = step.step(given, labels.to(task.device).long())
        self._wait()
        took = time.perf_counter() - begin
        if not loss.isfinite():
            raise RuntimeError(f"the loss became {loss.item():g}")
        return took

    def _wait(self) -> None:
        if self._task.device == "cuda":
            torch.cuda.synchronize()


def open_train(task: TrainTask, which: str) -> _Stock:
    """The project's loader on the task's images, and its step."""
    return _Stock(task, which)
