"""Epochs of engine.train.trainer.Trainer as in a run, on the file or on a replay of its first batches."""

from typing import Any

from engine.train.ranks.process import limit_spinning

# ruff: noqa: E402
# As train_imagenet.py does: it has an effect only before torch is imported.
limit_spinning()

from benchmarks.sides.steps.step_tasks import LoopTask, TrainTask
from benchmarks.sides.trainings.trainer_loop import Loop, Replay
from engine.data.beton.reader import open_beton
from engine.data.loading.loader import Loader
from engine.data.sampling.crops import RandomResizedCrop
from engine.data.sampling.order import epoch_permutation
from engine.train.step.precision import choose_precision

# As many as a loader keeps in flight, so that they are as cold in the processor's caches.
_REPLAYED = 8


class _Training(Loop):
    """The loop of the overhead stage, but over the task's file."""

    def __init__(self, task: TrainTask, batches: str) -> None:
        self._images, self._replays = task.images, batches == "replay"
        loop = LoopTask(
            step=task.step,
            resolution=task.images.resolution,
            batch=task.images.batch,
            steps=task.steps,
            folder=task.folder,
        )
        super().__init__(loop)
        source = f"{_REPLAYED} batches of the file that lie ready" if self._replays else "the file"
        self.settings = (
            f"engine.train.trainer.Trainer over {source}; {self._precision.name}, channels_last, fused SGD"
        )

    def epoch(self) -> float:
        """Seconds of the next epoch."""
        return self.loop()

    def _open_loader(self, samples: int) -> Any:
        task, device = self._images, self._device
        loader = Loader(
            open_beton(task.beton),
            device=device,
            dtype=choose_precision(self._task.step.precision, device).input_dtype,
            channels_last=True,
            workers=task.cores,
        )
        if not self._replays:
            self._owned.callback(loader.close)
            return loader
        with loader:
            law = RandomResizedCrop(seed=0, epoch=0, min_scale=task.scale[0], max_scale=task.scale[1])
            order = epoch_permutation(task.num_samples, seed=0, epoch=0)
            count = min(_REPLAYED, task.num_samples // task.batch)
            ids = order[: count * task.batch].reshape(count, task.batch)
            return Replay(list(loader.batches(ids, task.resolution, law)), samples)

    def _run_options(self) -> dict[str, Any]:
        return {**super()._run_options(), "augmentation.min_scale": self._images.scale[0]}


def open_side(task: TrainTask, batches: str) -> _Training:
    """Our trainer; `batches`: of the file, or a replay of its first ones."""
    return _Training(task, batches)
