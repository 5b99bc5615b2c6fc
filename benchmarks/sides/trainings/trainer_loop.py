"""The trainer's epoch loop as in a run, on batches that lie ready, and bare steps on the same network and batches.

Both in one process: two processes may differ by more than the 2% that are looked for.
"""

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from benchmarks.sides.steps.ours_step import alone, network, recipe, set_host
from benchmarks.sides.steps.step_tasks import CLASSES, LoopTask
from benchmarks.sides.steps.step_training import (
    LEARNING_RATE,
    MOMENTUM,
    SMOOTHING,
    WEIGHT_DECAY,
    made_batches,
)
from engine.data.loading.loader import Batch, Batches, Loader
from engine.data.loading.meters import DataFigures
from engine.data.sampling.crops import CropLaw
from engine.data.sampling.order import Windows
from engine.report.run_display import RunDisplay
from engine.runs.log_schema import StartLine, validation_fields
from engine.runs.run_writer import RunWriter
from engine.train.optimizers.optimizer import decay_groups
from engine.train.step.precision import choose_precision
from engine.train.trainer import Trainer

_BATCHES = 4
_EPOCHS = 1000
# Steps of a turn: half a second or less, so that a drift of the machine's speed affects both sides alike; not fewer,
# since on a GPU each turn begins with an empty queue.
TURN = 5
# Composer's for its "mild" recipe.
_AVERAGE = {"training.ema_half_life": 100, "training.ema_every": 20}


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The part of a file that the trainer uses where the order is random."""

    num_samples: int
    manifest: None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """All zero: timings do not depend on labels."""
        return np.zeros(self.num_samples, np.int64)


class Replay:
    """Replaces engine.data.loading.loader.Loader in the trainer: gives the batches `made` in turn, for any ids.

    The same tensors each time, so only for recipes without augmentations on the device.
    """

    def __init__(self, made: Sequence[Batch], num_samples: int) -> None:
        self.beton = Samples(num_samples=num_samples)
        self.wait_seconds = 0.0
        self.skips = 0
        self.decoder = "replay", "batches that were made before"
        self._made = made
        self._start = 0

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin with that batch."""
        self._start = state["batches"]

    def figures(self) -> DataFigures:
        """None: no time is spent on data."""
        return DataFigures()

    def batches(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None = None
    ) -> Generator[Batch, None, None]:
        """One Batch for each array of ids. Raises ValueError where another size is asked for."""
        first, self._start = self._start, 0
        for number, asked in enumerate(ids[first:], first):
            batch = self._made[number % len(self._made)]
            if (len(asked), resolution) != (len(batch.images), batch.images.shape[-1]):
                raise ValueError(f"made for {tuple(batch.images.shape)}, not {len(asked)} of {resolution} px")
            yield batch


class Turns(Replay):
    """A replay that calls `other` before each turn of its batches, with their number."""

    other: Callable[[int], None] | None = None

    def batches(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None = None
    ) -> Generator[Batch, None, None]:
        for number, batch in enumerate(super().batches(ids, resolution, crop, windows)):
            if self.other and number % TURN == 0:
                self.other(min(TURN, len(ids) - number))
            yield batch


class Loop:
    """Loop and bare steps, ready to take turns. Writes a run into the task's folder until `close`."""

    def __init__(self, task: LoopTask) -> None:
        self._task, self._owned = task, ExitStack()
        set_host(task.step)
        self._device = device = torch.device(task.device)
        self._config = recipe(task.step, task.batch, {**_AVERAGE, **self._run_options()})
        self._precision = choose_precision(task.step.precision, device)
        self.model = network(self._config, device)
        self._made = self._make(device)
        ranks, samples = alone(device), task.steps * task.batch
        loader = self._open_loader(samples)
        self.trainer = Trainer(self._config, ranks, self._precision, loader, self.model, CLASSES)
        self.trainer.step.prepare(task.batch, task.resolution)
        self._forward: Any = torch.compile(self.model, dynamic=False) if task.step.compile else self.model
        self._optimizer = torch.optim.SGD(
            decay_groups(self.model, WEIGHT_DECAY), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True
        )
        self._scaler = self._precision.scaler()
        self.record = self._owned.enter_context(
            RunWriter.open(self._config, "overhead", writes=True, display=RunDisplay())
        )
        plan = self.trainer.plan(0).entry()
        self.record.start(
            StartLine(
                device=device.type,
                precision=self._precision.name,
                world_size=ranks.world,
                num_classes=CLASSES,
                classes_known=False,
                arch=self._config.model.arch,
                parameters=sum(parameter.numel() for parameter in self.model.parameters()),
                num_train=samples,
                num_val=1,
                **plan,
            )
        )
        # Drawn as on a terminal, into nothing.
        self._nowhere = self._owned.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        total = _EPOCHS * samples
        self.bar = self._owned.enter_context(
            tqdm(total=total, unit="img", unit_scale=True, file=self._nowhere)
        )
        self._epoch = 0
        self.limits: dict[str, str] = {}
        """What limited the last epoch (engine.train.bottleneck): stage, words and advice."""
        self.settings = (
            f"{self._precision.name}, channels_last, fused SGD; the loop with an average of the weights every 20 steps "
            f"in epochs of {task.steps} steps, each logged and reported"
        )

    def loop(self) -> float:
        """Seconds of the trainer's next epoch, with its line in the log and its report."""
        self._wait()
        begin = time.perf_counter()
        with redirect_stdout(self._nowhere):
            line = self.trainer.train_epoch(self._epoch, self.bar, tell=self.record.steps)
            # A replay has none.
            if line.limits is not None:
                limits = {"stage": line.limited_by, "words": line.limits.words, "advice": line.limits.advice}
                self.limits = {key: value or "" for key, value in limits.items()}
            self.record.epoch(
                line.replaced(
                    **validation_fields(None),
                    **validation_fields(None, "ema_"),
                    val_seconds=0.0,
                    val_resolution=self._config.validation.resolution,
                    elapsed_seconds=time.perf_counter() - begin,
                )
            )
        self._wait()
        self._epoch += 1
        return time.perf_counter() - begin

    def in_turns(self) -> tuple[float, float]:
        """Seconds of the trainer's next epoch, and of as many bare steps, some before each turn of the loop's.

        The loader has to be a Turns. The end of an epoch, mainly its report, counts for the loop.
        """
        turns, bare = cast(Turns, self.trainer.loader), 0.0

        def other(steps: int) -> None:
            nonlocal bare
            bare += self.bare(steps)

        turns.other = other
        try:
            whole = self.loop()
        finally:
            turns.other = None
        return whole - bare, bare

    def bare(self, steps: int) -> float:
        """Seconds of `steps` steps with nothing around them."""
        self._wait()
        begin = time.perf_counter()
        for number in range(steps):
            batch = self._made[number % _BATCHES]
            with self._precision.autocast():
                logits = self._forward(batch.images)
                loss = functional.cross_entropy(logits, batch.labels, label_smoothing=SMOOTHING)
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - begin

    def close(self) -> None:
        """End the run's record."""
        self._owned.close()

    def _open_loader(self, samples: int) -> Loader:
        """The loader of the trainer's batches."""
        return cast(Loader, Turns(self._made, samples))

    def _run_options(self) -> dict[str, Any]:
        return {
            "training.epochs": _EPOCHS,
            "resolution.min_res": self._task.resolution,
            "resolution.max_res": self._task.resolution,
            "logging.folder": self._task.folder,
            "logging.name": "overhead",
        }

    def _make(self, device: torch.device) -> list[Batch]:
        dtype, ids = self._precision.input_dtype, np.arange(self._task.batch)
        return [
            Batch(images.to(device, dtype, memory_format=torch.channels_last), labels.to(device), ids)
            for images, labels in made_batches(_BATCHES, self._task.batch, self._task.resolution)
        ]

    def _wait(self) -> None:
        if self._task.device == "cuda":
            torch.cuda.synchronize()
