"""The time of a run, added up from its parts: set-up, first steps, training, validation, saving, the end.

Training takes, per resolution, the run's images there over the speed of the slower of data path
and step (machine_pace.py).
"""

import math
from dataclasses import dataclass, replace

from engine.config.train.train_config import TrainConfig
from engine.plan.pace.machine_pace import Z90, Pace
from engine.runs.time_left import Ahead
from engine.train.batching import parts_ahead, plans_by_resolution

VALIDATION_SHARE = 0.05
"""Validations between the first and the last may take this share of the training time; else there are fewer."""

WHOLE_FROM = 10
"""Lengths are whole numbers of epochs from this on, multiples of 0.1 below it."""

FLOOR_SECONDS = 1.0
"""Added to the half-width of each interval: the start and end of processes, which vary by that in short runs."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """The predicted time of a run, in seconds."""

    parts: dict[str, float]
    """By name, in the order of a run; they add up to `seconds`."""
    error: float
    """Half-width of the 90% interval as a share, without FLOOR_SECONDS."""
    limited_by: str
    """The stage in which most of the training time is lost: disk, decode, copy or step."""
    images: int
    validations: int

    @property
    def seconds(self) -> float:
        """The middle."""
        return sum(self.parts.values())

    @property
    def half_width(self) -> float:
        """Of the 90% interval."""
        return self.seconds * self.error + FLOOR_SECONDS

    @property
    def low(self) -> float:
        """The lower end of the 90% interval."""
        return max(0.0, self.seconds - self.half_width)

    @property
    def high(self) -> float:
        """The upper end of the 90% interval."""
        return self.seconds + self.half_width

    def probability(self, limit: float) -> float:
        """That the run takes at most `limit` seconds, its time being normal."""
        return 0.5 * (1 + math.erf((limit - self.seconds) / (self.half_width / Z90) / math.sqrt(2)))


def stretched(config: TrainConfig, length: float) -> TrainConfig:
    """The recipe with its schedule stretched to `length` epochs.

    A fractional or short length goes into training.timeline, with which the resolution changes within epochs: as in the
    runs that short families were measured with.
    """
    whole = round(length)
    if abs(length - whole) < 1e-6 and whole >= WHOLE_FROM:
        return replace(config, training=replace(config.training, epochs=whole, timeline=""))
    epochs = math.ceil(length)
    return replace(config, training=replace(config.training, epochs=epochs, timeline=f"0:{length:.10g}"))


def thinned(config: TrainConfig, pace: Pace, num_train: int) -> TrainConfig:
    """With validation.every so large that validations take at most VALIDATION_SHARE of the training time."""
    side = config.resolution.max_res
    epoch_seconds = num_train / pace.at(side).rate
    every = math.ceil(pace.validation_seconds / (VALIDATION_SHARE * epoch_seconds))
    every = min(max(every, config.validation.every), config.training.epochs)
    return replace(config, validation=replace(config.validation, every=every))


def ahead(config: TrainConfig, num_train: int, world: int = 1) -> list[list[Ahead]]:
    """What each epoch of the run trains on. Raises UserError for a batch that exceeds the images."""
    # One GPU accumulates to the same global batch: the images are the same on any number of them.
    plain = replace(config, budget=replace(config.budget, adapt=False))
    return parts_ahead(plain, plans_by_resolution(plain, world, num_train), num_train)


def run_duration(config: TrainConfig, pace: Pace, num_train: int) -> Duration:
    """The time of a run of `config` on `num_train` images. Raises UserError as `ahead` does."""
    by_side: dict[int, int] = {}
    epochs = ahead(config, num_train)
    for part in (part for parts in epochs for part in parts):
        by_side[part.side] = by_side.get(part.side, 0) + part.images
    training = {side: images / pace.at(side).rate for side, images in by_side.items()}
    by_stage: dict[str, float] = {}
    for side, seconds in training.items():
        stage = pace.at(side).limited_by
        by_stage[stage] = by_stage.get(stage, 0.0) + seconds
    validations = sum(part.validated for parts in epochs for part in parts)
    parts = {
        "set-up": pace.setup_seconds,
        "first steps": pace.first_step_seconds * len(by_side),
        "training": sum(training.values()),
        "validation": pace.validation_seconds * validations,
        "saving": pace.save_seconds * len(epochs),
        "finish": pace.finish_seconds,
    }
    return Duration(
        parts=parts,
        error=pace.error,
        limited_by=max(by_stage, key=lambda stage: by_stage[stage]),
        images=sum(by_side.values()),
        validations=validations,
    )
