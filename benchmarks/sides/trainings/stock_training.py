"""Another project's loader and its training step, one after the other."""

import itertools
import time

import torch

from benchmarks.sides import peer_side
from benchmarks.sides.steps.step_tasks import TrainTask


class _Stock:
    def __init__(self, task: TrainTask, loader: str, step: str) -> None:
        self._task = task
        self._loader = peer_side("loader", loader).open_side(task.images)
        # After the loader, which leaves torch one thread; the step takes all.
        self._step = peer_side("step", step).open_side(task.step).side
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


def open_side(task: TrainTask, loader: str, step: str) -> _Stock:
    """The peer `loader` on the task's images, and the peer `step`; both deliver and take normalised batches."""
    return _Stock(task, loader, step)
