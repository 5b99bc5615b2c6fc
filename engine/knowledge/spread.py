"""Accuracy that a family's runs have at a point of the schedule, and how far they differ there: what an alarm needs.

A point of the schedule is a share: epochs done / epochs of the run. Published curves have a mean and a spread by epoch;
our own are single runs, whose spread is pooled over pairs of equal length.
"""

import math
from collections.abc import Sequence

import numpy as np

from engine.knowledge.families import FAMILIES
from engine.knowledge.family import REPLICATION_SD, Curve, Family

LEAST_SD = 0.01
"""Of our own runs: two seeds a length are too few to show that the spread is below one point."""
STEEPNESS = 0.25
"""Share of the rise between two known epochs that counts as spread, for a point of the schedule between them."""


def expected_at(family_name: str, schedule: float, epochs: float | None = None) -> tuple[float, float] | None:
    """(mean top-1, standard deviation between runs) at `schedule`, a share of the run that is done; shares 0 to 1.

    `epochs`: the length of the run; a measured family has curves of several lengths, and its accuracy at the same
    share depends on it. None where the family is unknown, has no curve, or its curves begin later; also for a length
    outside those of a measured family, whose curves say nothing about it.

    A published spread is widened by what a recipe differs from its publication when it is run again elsewhere.
    """
    family = FAMILIES.get(family_name)
    if family is None or not family.curves:
        return None
    found = _measured(family, schedule, epochs) if family.measured else _published(family, schedule)
    if found is None:
        return None
    mean, variance = found
    return mean, math.sqrt(variance)


def _published(family: Family, schedule: float) -> tuple[float, float] | None:
    """(mean, variance) of the family's first curve, whatever the run's length: its schedule is stretched whole."""
    curve = family.curves[0]
    mean = _at(curve, schedule)
    if mean is None:
        return None
    # Where the source gives no spread it lies between its neighbours'.
    known = [(epoch / curve.epochs, sd) for epoch, _, sd in curve.points if sd is not None]
    sd = float(np.interp(schedule, [place for place, _ in known], [sd for _, sd in known]))
    return mean, sd**2 + REPLICATION_SD**2


def _measured(family: Family, schedule: float, epochs: float | None) -> tuple[float, float] | None:
    """(mean, variance) from single runs: between lengths the mean is interpolated by the logarithm of the length."""
    by_length: dict[float, list[float]] = {}
    steps = []
    for curve in family.curves:
        mean = _at(curve, schedule)
        if mean is not None:
            by_length.setdefault(curve.epochs, []).append(mean)
            steps.append(_step(curve, schedule))
    if not by_length:
        return None
    lengths = sorted(by_length)
    means = [float(np.mean(by_length[length])) for length in lengths]
    pooled = _pooled(list(by_length.values()))
    between = LEAST_SD**2 + (STEEPNESS * float(np.mean(steps))) ** 2
    if epochs is None:
        return float(np.mean(means)), max(pooled, between) + float(np.var(means))
    if not lengths[0] <= epochs <= lengths[-1]:
        return None
    return float(np.interp(math.log(epochs), np.log(lengths), means)), max(pooled, between)


def _at(curve: Curve, schedule: float) -> float | None:
    """The curve's mean at a share of its length, between its epochs linearly; None before its first one."""
    places = [epoch / curve.epochs for epoch, _, _ in curve.points]
    if not places or schedule < places[0] - 1e-9:
        return None
    return float(np.interp(schedule, places, [top1 for _, top1, _ in curve.points]))


def _step(curve: Curve, schedule: float) -> float:
    """How much the curve changes between the known epochs on both sides of `schedule`; 0 at a known one."""
    places = np.array([epoch / curve.epochs for epoch, _, _ in curve.points])
    values = [top1 for _, top1, _ in curve.points]
    after = int(np.searchsorted(places, schedule - 1e-9))
    if after == 0 or after == len(places) or math.isclose(places[after], schedule, abs_tol=1e-9):
        return 0.0
    return abs(values[after] - values[after - 1])


def _pooled(groups: Sequence[Sequence[float]]) -> float:
    """Variance within the groups; 0 where none has two."""
    degrees = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.sum((np.array(group) - np.mean(group)) ** 2)) for group in groups)
    return squares / degrees if degrees else 0.0
