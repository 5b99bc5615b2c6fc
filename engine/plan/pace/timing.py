"""Times the parts of a run for a few seconds each: loader, step, both together, validation."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.devices import is_gpu, synchronize
from engine.models.head import train_mode
from engine.train.augment.chain import TrainBatch
from engine.train.evaluation.validator import Validator
from engine.train.trainer import Trainer

_BLOCK_SECONDS = 0.25
_LEARNING_RATE = 1e-6
_ENOUGH_STEPS, _BEHIND = 20, 0.9
_UNSEEN = 0.06


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A rate in images per second, and how far its blocks differ (relative standard deviation of their mean)."""

    rate: float
    spread: float = 0.0
    first_seconds: float = 0.0
    """What the first step took beside its usual time, compiling included."""


class Timer:
    """Times parts on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._numbers = itertools.count()

    def loader(self, trainer: Trainer, seconds: float) -> tuple[float, float | None]:
        """Images per second that are decoded, and that are copied (None on a CPU), with no step at work."""
        loader = trainer.loader
        with closing(endless(trainer)) as batches:
            next(batches)
            before, begin = loader.figures(), time.perf_counter()
            done = loader.figures() - before
            while not done.images or time.perf_counter() - begin < seconds:
                next(batches)
                done = loader.figures() - before
            self._wait()
            done, taken = loader.figures() - before, time.perf_counter() - begin
        return done.images / taken, done.images / done.copy_seconds if done.copy_seconds else None

    def step(self, trainer: Trainer, seconds: float) -> Timing:
        """Steps on a batch that is kept, so that none waits for data."""
        with closing(trainer.batches(0, 0)) as batches:
            kept = list(itertools.islice(batches, trainer.plan(0).accumulation))
        return self._steps(trainer, itertools.cycle(kept), seconds)

    def together(self, trainer: Trainer, seconds: float) -> Timing:
        """Steps on batches as they come; where the loader is behind, what it makes counts, not what was waiting."""
        loader = trainer.loader
        with closing(endless(trainer)) as batches:
            self._step(trainer, batches)
            self._wait()
            before, begin = loader.figures(), time.perf_counter()
            timing = self._timed(trainer, batches, seconds)
            taken = time.perf_counter() - begin
            made = (loader.figures() - before).images / taken
        steps = timing.rate * taken / trainer.plan(0).global_batch
        # Over few steps the few batches that wait at the start and at the end make as much of a difference.
        behind = steps >= _ENOUGH_STEPS and made < _BEHIND * timing.rate
        return replace(timing, rate=made) if behind else timing

    def validation(self, validator: Validator, validate: Callable[[], object], seconds: float) -> float:
        """Seconds of `validate` for all images, from as many as fit into the time; the first batch is not timed."""
        total = validator.loader.beton.num_samples
        count = min(total, validator.validation.batch_size)
        validator.ids = np.arange(count)
        validate()
        while True:
            begin = time.perf_counter()
            validate()
            self._wait()
            taken = time.perf_counter() - begin
            if count == total or taken >= seconds / 2:
                return taken * total / count
            count = min(total, max(2 * count, int(0.6 * count * seconds / taken)))
            validator.ids = np.arange(count)

    def _steps(self, trainer: Trainer, batches: Iterator[TrainBatch], seconds: float) -> Timing:
        """Steps for so long, the first with its compiling among them, at least one beyond it."""
        train_mode(trainer.model)
        plan = trainer.plan(0)
        begin = time.perf_counter()
        compiling = trainer.step.prepare(plan.device_batch, trainer.side(0))
        self._step(trainer, batches)
        self._wait()
        first = time.perf_counter() - begin
        timing = self._timed(trainer, batches, seconds - first)
        usual = plan.global_batch / timing.rate
        return replace(timing, first_seconds=max(0.0, first - usual, compiling))

    def _timed(self, trainer: Trainer, batches: Iterator[TrainBatch], seconds: float) -> Timing:
        """Steps for so long, at least one, timed in blocks."""
        train_mode(trainer.model)
        plan = trainer.plan(0)
        blocks: list[tuple[int, float]] = []
        images, started, begin = 0, time.perf_counter(), time.perf_counter()
        while not blocks or time.perf_counter() - started < seconds:
            self._step(trainer, batches)
            images += plan.global_batch
            if not is_gpu(self.device) or time.perf_counter() - begin >= _BLOCK_SECONDS or not blocks:
                self._wait()
                if (taken := time.perf_counter() - begin) >= _BLOCK_SECONDS or not blocks:
                    blocks.append((images, taken))
                    images, begin = 0, time.perf_counter()
        rate = sum(count for count, _ in blocks) / sum(taken for _, taken in blocks)
        return Timing(rate=rate, spread=spread(blocks))

    def _step(self, trainer: Trainer, batches: Iterator[TrainBatch]) -> None:
        trainer.step.take(
            batches, trainer.plan(0).accumulation, lr=_LEARNING_RATE, number=next(self._numbers)
        )

    def _wait(self) -> None:
        synchronize(self.device)


def endless(trainer: Trainer) -> Generator[TrainBatch, None, None]:
    """The batches of the first epoch, again and again."""
    while True:
        with closing(trainer.batches(0, 0)) as batches:
            yield from batches


def spread(blocks: Sequence[tuple[int, float]]) -> float:
    """Standard deviation of the mean rate of (images, seconds), relative to it.

    At least half of the difference between the two halves: a machine that slows down has no steady mean. Fewer than
    four blocks show neither: _UNSEEN.
    """
    rates = [images / seconds for images, seconds in blocks]
    if len(rates) < 4:
        return _UNSEEN
    half, mean = len(rates) // 2, statistics.mean(rates)
    drift = abs(statistics.mean(rates[:half]) - statistics.mean(rates[half:])) / 2
    return max(statistics.stdev(rates) / math.sqrt(len(rates)), drift) / mean
