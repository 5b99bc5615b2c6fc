"""What is left of a run -> how long it takes, and the length with which it ends in time: pure functions.

The rest of a schedule is passed at one speed, so the time it takes is proportional to its length in epochs: the mean
time of an epoch over the rest, times the epochs. Validations and the end come on top. Nothing here reads a clock.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.train.budget.timeline import Timeline

SHORTEST_REST = 1 / 64
"""Epochs; however late a run is, so much is left to bring the learning rate to its end."""

_POINTS = 64
"""Points of the rest of the schedule at which the resolution is looked up."""

_FINEST = 100
"""A length is given in parts of an epoch as small as one of so many."""

ALL, LAST = "all", "last"
"""Which validations are made: every validation.every epochs, or only the one after the last epoch."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What each part of the rest of a run takes, in seconds as expected now."""

    epoch_at: Callable[[float], float]
    """Seconds of a whole epoch of training at a position of the schedule (in epochs of the recipe)."""
    validation: float
    every: int
    """Epochs from one validation to the next."""
    finish: float = 0.0
    """From the end of the last validation to that of the run."""
    compiling: float = 0.0
    """Compiling for resolutions that are still to come."""
    later: float = 0.0
    """Later stages, which are stretched or shrunk like the rest of this one."""
    shortest: float = SHORTEST_REST
    """Epochs that are left at least."""


@dataclass(frozen=True, kw_only=True)
class Replan:
    """A new length of the run in epochs, which validations are left, and how late it would have been (s) without.

    `scale`: the time of later stages, after the change / before.
    """

    length: float
    validations: str
    late_seconds: float
    scale: float = 1.0


def seconds_left(timeline: Timeline, at: float, costs: Costs, validations: str) -> float:
    """The time from `at` finished epochs to the end of the run with `timeline` as it is."""
    between = _between(at, timeline.length, costs, validations)
    fixed = costs.validation * (between + 1) + costs.finish + costs.compiling + costs.later
    return (timeline.length - at) * _mean_epoch(timeline, at, costs) + fixed


def replan(
    timeline: Timeline, at: float, budget_left: float, costs: Costs, validations: str, *, margin: float
) -> Replan | None:
    """What to change so that the run, `at` finished epochs, ends in `budget_left` seconds.

    None where it would end within `margin` seconds of that. A run that is late first loses the validations before the
    last one. The length is never below `at` + costs.shortest, and grows without limit: time is there to be used.
    """
    late = seconds_left(timeline, at, costs, validations) - budget_left
    if abs(late) <= margin:
        return None
    if late > 0 and validations == ALL:
        validations = LAST
        if abs(seconds_left(timeline, at, costs, LAST) - budget_left) <= margin:
            return Replan(length=timeline.length, validations=LAST, late_seconds=late)
    rest = timeline.length - at
    # Later stages become longer or shorter with the rest of this one.
    per_epoch = _mean_epoch(timeline, at, costs) + costs.later / rest
    free = budget_left - costs.finish - costs.compiling - costs.validation
    fitting = max(0.0, _fitting(at, free, per_epoch, costs, validations))
    length = max(math.floor((at + fitting) * _FINEST) / _FINEST, at + costs.shortest)
    # The least that is left must not make a late run longer, again and again.
    length = min(length, timeline.length) if late > 0 else max(length, timeline.length)
    if abs(length - timeline.length) < 1 / _FINEST:
        return None
    return Replan(length=length, validations=validations, late_seconds=late, scale=fitting / rest)


def _fitting(at: float, free: float, per_epoch: float, costs: Costs, validations: str) -> float:
    """The longest rest in epochs that takes `free` seconds, with the validations that come within it."""
    between = 0
    while True:
        rest = (free - between * costs.validation) / per_epoch
        if rest <= 0 or _between(at, at + rest, costs, validations) <= between:
            return rest
        between += 1


def _between(at: float, length: float, costs: Costs, validations: str) -> int:
    """Validations after `at` and before the last one, which comes at the end of the run."""
    if validations == LAST:
        return 0
    # At the start of an epoch, the validation of the one before is done.
    done, last = math.floor(at / costs.every + 1e-9), math.ceil(length / costs.every - 1e-9) - 1
    return max(0, last - done)


def _mean_epoch(timeline: Timeline, at: float, costs: Costs) -> float:
    start = timeline.position(at)
    step = (timeline.epochs - start) / _POINTS
    return sum(costs.epoch_at(start + (point + 0.5) * step) for point in range(_POINTS)) / _POINTS
