"""A machine's pace for a family's recipe by published figures: the speeds in engine/knowledge/machines.yaml, and the
minutes that the family's own runs took.

The speeds are those of ffcv-imagenet's recipe or like it. Other recipes took longer on the same machine, for their
loaders, losses, averages: the published minutes of a family, over those that the speeds give for it, are its slowdown.
ffcv-imagenet's own ratios are 0.99 to 1.02 over twelve runs, Mosaic's mild recipe's 1.3 to 1.7 over three.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import Family, Point
from engine.knowledge.machines import Machine, find_machine
from engine.plan.duration import run_duration, stretched
from engine.plan.pace.machine_pace import Pace, SidePace

ERROR_ELSEWHERE = 0.05
"""Added to the interval where a recipe's resolution was not published but interpolated: the log-log line between
ffcv-imagenet's 160 px and NVIDIA's 224 px on an A100 misses ffcv-imagenet's 192 px by 12%, of which 5% are the two
programs' difference; most of the rest is allowed."""

UNKNOWN_SLOWDOWN, UNKNOWN_ERROR = 1.6, 0.4
"""Of families that publish no minutes: those that do, beside ffcv-imagenet's, took 1.3 to 2.4 times as long."""

_SAME = 0.05
_ODD = 3.0
"""A larger ratio says more about that machine's disk or loader than about the recipe: it is not used."""


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """How many times as long a family's runs take as the plain speeds say, and the 90% half-width of that."""

    factor: float
    error: float
    words: str


def published_pace(family: Family, recipe: TrainConfig, machine: Machine, sides: Sequence[int]) -> Pace:
    """The pace for a family's recipe, which trains at `sides` pixels. Raises UserError for an unpublished network.

    The speeds include loading on their owners' hosts, so the step stands for all stages.
    """
    plain = _plain_pace(family, recipe, machine, sides)
    slowdown = slowdown_of(family, recipe, sides)
    return replace(
        plain,
        sides=tuple(replace(side, step=side.step / slowdown.factor) for side in plain.sides),
        error=math.hypot(plain.error, slowdown.error),
        notes=(slowdown.words,) if abs(slowdown.factor - 1) > _SAME else (),
    )


def slowdown_of(family: Family, recipe: TrainConfig, sides: Sequence[int]) -> Slowdown:
    """From the minutes of the family's published runs on known machines."""
    logs = [
        math.log(ratio)
        for point in (*family.points, *family.unfitted)
        if (ratio := _minutes_ratio(family, recipe, point, sides)) and ratio <= _ODD
    ]
    if not logs:
        words = (
            f"{family.name} publishes no usable minutes: taken as {UNKNOWN_SLOWDOWN} x the plain speeds' time"
        )
        return Slowdown(factor=UNKNOWN_SLOWDOWN, error=UNKNOWN_ERROR, words=words)
    middle, half = sum(logs) / len(logs), (max(logs) - min(logs)) / 2
    factor = math.exp(middle)
    runs = f"{len(logs)} published run{'s' if len(logs) > 1 else ''}"
    words = f"{family.name}'s {runs} took {factor:.2f} x the plain speeds' time"
    # One run alone does not show how far runs differ: as far as the family's that differ most.
    return Slowdown(factor=factor, error=half if len(logs) > 1 else 0.2, words=words)


def _minutes_ratio(family: Family, recipe: TrainConfig, point: Point, sides: Sequence[int]) -> float | None:
    """Published minutes over predicted ones, of training alone; None where one of them is not known."""
    if not point.minutes:
        return None
    try:
        machine = find_machine(point.hardware)
        if family.network in machine.predicted:
            # Published minutes say nothing of the recipe where the plain speed is a guess.
            return None
        pace = _plain_pace(family, recipe, machine, sides)
        duration = run_duration(stretched(recipe, round(point.epochs)), pace, family.num_train)
    except UserError:
        # Published on a machine without published speeds.
        return None
    training = duration.parts["training"]
    return (point.minutes * 60 - (duration.seconds - training)) / training


def _plain_pace(family: Family, recipe: TrainConfig, machine: Machine, sides: Sequence[int]) -> Pace:
    published, predicted = machine.speeds.get(family.network, {}), family.network in machine.predicted
    validation, averaged = recipe.validation, 2 if recipe.training.ema_half_life else 1
    own, plain = (
        averaged * machine.validation_seconds(family.network, family.num_val, side, tta=tta)
        for side, tta in (
            (validation.resolution, validation.lr_tta),
            (validation.plain_resolution, False),
        )
    )
    return Pace(
        machine=machine.name,
        basis=machine.basis_of(family.network),
        measured=False,
        gpus=machine.count,
        sides=tuple(SidePace(side=side, step=machine.speed(family.network, side)) for side in sorted(sides)),
        error=machine.error_of(family.network)
        + (0.0 if predicted or set(sides) <= set(published) else ERROR_ELSEWHERE),
        setup_seconds=machine.start_seconds,
        validation_seconds=own,
        finish_seconds=plain,
    )
