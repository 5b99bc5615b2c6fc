"""The learning rate range test (Smith 2015, "Cyclical Learning Rates for Training Neural Networks", section 3.3).

The network is trained with the recipe while the learning rate grows by the same factor in each step; the loss shows
which rates train and which diverge. Smith raises the rate linearly and watches accuracy. Rates that grow by a factor,
the loss, and the rules for reading a rate off the curve are those of fastai's LR finder (Howard and Gugger 2020),
except those marked as Smith's.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from engine.config.train.train_config import TrainConfig
from engine.devices import exact
from engine.models.head import train_mode
from engine.train.augment.chain import TrainBatch
from engine.train.ranks.backends import seed_step
from engine.train.trainer import Trainer

EXPLODED = 4.0
"""The test ends where the running mean of the loss is this many times its lowest (fastai)."""

_RUNNING = 0.9
_KERNEL_SHARE = 0.02
# With fewer points there is no curve to read.
_FEWEST = 8
# A curve of pure noise falls by less than this many standard deviations in 99 of 100 tests, of 20 or 400 steps.
_SURE = 5.0


@dataclass(frozen=True, kw_only=True)
class RangePoint:
    """A step of the test: its learning rate, and its loss (the mean over the global batch)."""

    lr: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Two learning rates: `steepest`, where the loss falls fastest, and `lowest`, where it stops falling."""

    steepest: float
    lowest: float

    def suggestion(self, *, peaked: bool) -> float:
        """The learning rate to use: for a schedule with a peak where the loss stops falling (Smith's upper bound), for
        one that starts at its highest rate a tenth of that (fastai's rule of the minimum).
        """
        return self.lowest if peaked else self.lowest / 10


def rates(start: float, end: float, steps: int) -> list[float]:
    """`steps` learning rates from `start` to `end`, in geometric progression."""
    return [float(rate) for rate in np.geomspace(start, end, steps)]


def as_tested(config: TrainConfig, side: int) -> TrainConfig:
    """The recipe at its first resolution, without weight averages and data.replay, which a test does not need."""
    resolution = replace(config.resolution, schedule="ramp", stages="", min_res=side, max_res=side)
    training = replace(config.training, ema_half_life=0.0, ema_every=1)
    return replace(config, resolution=resolution, training=training, data=replace(config.data, replay=0))


def range_test(trainer: Trainer, learning_rates: Sequence[float]) -> Iterator[RangePoint]:
    """A step at each rate on the batches of training; ends early when the loss explodes.

    The trainer's network is not usable afterwards. Raises UserError for a corrupt sample.
    """
    config, ranks, plan = trainer.config, trainer.ranks, trainer.plan(0)
    train_mode(trainer.model)
    trainer.step.prepare(plan.device_batch, trainer.side(0))
    explosion = Explosion()
    with closing(_batches(trainer)) as batches:
        for number, lr in enumerate(learning_rates):
            epoch, step = divmod(number, trainer.steps(0))
            seed_step(config.training.seed, epoch, step, ranks.rank)
            loss, _ = trainer.step.take(batches, plan.accumulation, lr=lr, number=number)
            # Each step waits for the device, unlike in training; there are only a few.
            loss = ranks.sum(exact(loss.reshape(1)))
            point = RangePoint(lr=lr, loss=float(loss) / (plan.accumulation * ranks.world))
            if math.isfinite(point.loss):
                yield point
            if explosion.seen(point.loss):
                return


def _batches(trainer: Trainer) -> Generator[TrainBatch, None, None]:
    """The batches of epoch after epoch, without end."""
    epoch = 0
    while True:
        with closing(trainer.batches(epoch, 0)) as batches:
            yield from batches
        epoch += 1


class Explosion:
    """Whether the running mean of the losses so far is far above its lowest."""

    def __init__(self) -> None:
        self._mean, self._weight, self._lowest = 0.0, 0.0, math.inf

    def seen(self, loss: float) -> bool:
        """Add the next step's loss; returns whether the losses have exploded."""
        if not math.isfinite(loss):
            return True
        self._mean = _RUNNING * self._mean + (1 - _RUNNING) * loss
        self._weight = _RUNNING * self._weight + (1 - _RUNNING)
        mean = self._mean / self._weight
        self._lowest = min(self._lowest, mean)
        return mean > EXPLODED * self._lowest


def smoothed(losses: Sequence[float]) -> list[float]:
    """The losses smoothed by a Gaussian with a standard deviation of 2% of the steps.

    A running mean would lag by many steps and move all readings to higher rates.
    """
    values, places = np.asarray(losses), np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / _width(len(losses))) ** 2)
    return [float(value) for value in weights @ values / weights.sum(axis=1)]


def _width(count: int) -> float:
    return max(1.0, _KERNEL_SHARE * count)


def read_curve(points: Sequence[RangePoint], *, exploded: bool) -> Reading | str:
    """The reading of the smoothed curve, or why there is none and what to do. `exploded`: the test ended early."""
    losses = np.asarray(smoothed([point.loss for point in points]))
    lowest = int(losses.argmin())
    fell = len(points) >= _FEWEST and losses[: lowest + 1].max() - losses[lowest] > _SURE * _scatter(points)
    if not fell and exploded:
        return "the loss explodes before it falls: lower --from"
    if not fell:
        return "the loss never falls by more than its noise: try more --steps, or another --from and --to"
    if not exploded and lowest >= len(points) - 1 - 2 * _width(len(points)):
        return "the loss still falls at --to: raise it"
    slopes = np.diff(losses[: lowest + 1])
    # Rates are evenly spaced in log(lr), so the slope per step is the slope in log(lr).
    return Reading(steepest=points[int(slopes.argmin())].lr, lowest=points[lowest].lr)


def _scatter(points: Sequence[RangePoint]) -> float:
    """Standard deviation of a smoothed loss at the end of the curve, estimated from step-to-step noise."""
    # For normal noise: 1.05 x the median step; steep parts of the curve don't move a median.
    noise = 1.05 * float(np.median(np.abs(np.diff([point.loss for point in points]))))
    return noise / math.sqrt(math.sqrt(math.pi) * _width(len(points)))


def linear_scaling(global_batch: int) -> float:
    """The SGD learning rate of Goyal et al. 2017 for ResNet-50: 0.1 per 256 images of the global batch."""
    return 0.1 * global_batch / 256
