"""The shortest run that keeps both an accuracy and a time, and the target that can be kept where time is short.

A length counts as sure of its accuracy from ACCURACY_SURE on. Its time limit is the upper end of its predicted 90%
interval, which a run keeps with a probability of 95%. Taken to be independent, both hold with at least 90%.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.plan.candidates import Candidate
from engine.plan.choice import Choice, Request

ACCURACY_SURE = 0.95

_POINT = 200
"""Targets are lowered to multiples of 1 / 200: half points."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A run, and what can be promised of it."""

    pick: Candidate
    target: float
    """Top-1, a share."""
    seconds: float
    """The time limit."""
    most_seconds: float = math.inf
    """What the time limit was not to exceed."""
    lowered: bool = False
    """Whether the target is below the one that was asked for, because of that."""

    @property
    def probability(self) -> float:
        """That the run reaches the target within the time limit, if its length is not changed."""
        return self.pick.holds(self.target, self.seconds)

    def as_choice(self, found: Sequence[Candidate]) -> Choice:
        """The offer in the form that plan_file.write_plan takes."""
        request = Request(target=self.target, seconds=self.seconds)
        why = f"the shortest that is sure of {self.target:.2%}"
        return Choice(request=request, found=found, pick=self.pick, why=why)


def surest(found: Sequence[Candidate], target: float, most_seconds: float = math.inf) -> Offer:
    """The offer for the highest target up to `target` (a share) that is sure within `most_seconds`.

    A lower target is a multiple of half a point. Where even the shortest run exceeds `most_seconds`, it is offered
    with a target that it is sure of, and its own time. `found` must hold at least one candidate.
    """
    ordered = sorted(found, key=lambda one: one.duration.seconds)
    for lower in [target, *_below(target)]:
        sure = [one for one in ordered if one.accuracy_holds(lower) >= ACCURACY_SURE]
        if sure and sure[0].duration.high <= most_seconds:
            return _offer(sure[0], lower, target, most_seconds)
    shortest = ordered[0]
    safe = next(one for one in [*_below(target), 0.0] if shortest.accuracy_holds(one) >= ACCURACY_SURE)
    return _offer(shortest, safe, target, most_seconds)


def likeliest(found: Sequence[Candidate], target: float, seconds: float | None = None) -> Offer:
    """The offer for exactly this target (a share), and this time limit if there is one: as asked, however unlikely.

    Without a time limit it is the shortest run that is sure of the target, or the longest one if none is. `found` must
    hold at least one candidate.
    """
    longest = max(found, key=lambda one: one.epochs)
    if seconds is None:
        sure = [one for one in found if one.accuracy_holds(target) >= ACCURACY_SURE]
        pick = min(sure, key=lambda one: one.duration.seconds, default=longest)
        return Offer(pick=pick, target=target, seconds=pick.duration.high)
    pick = max(found, key=lambda one: (round(one.holds(target, seconds), 2), -one.duration.seconds))
    return Offer(pick=pick, target=target, seconds=seconds)


def _offer(pick: Candidate, target: float, asked: float, most_seconds: float) -> Offer:
    return Offer(
        pick=pick,
        target=target,
        seconds=pick.duration.high,
        most_seconds=most_seconds,
        lowered=target < asked,
    )


def _below(target: float) -> list[float]:
    """The multiples of half a point below `target`, the highest first."""
    first = math.ceil(target * _POINT - 1e-9) - 1
    return [number / _POINT for number in range(first, 0, -1)]
