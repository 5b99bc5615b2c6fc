"""The choice between candidates: any of target, time and cost is given, the rest is answered.

The pick is the candidate with the highest probability that accuracy and time both hold, taken to be independent and
normal; of equals the cheaper. Where only one of the two is asked for, the other is answered by the shortest run (or the
most accurate one) for which the one that was asked for holds with at least SURE.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import Family
from engine.plan.candidates import Candidate, candidates, family_recipe
from engine.plan.pace.machine_pace import Pace

SURE = 0.9
_ALIKE = 0.005
"""Probabilities that differ by less are equal: they are not known better."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for; None where it is to be answered. Raises UserError on construction for senseless values."""

    target: float | None = None
    """Top-1, a share."""
    seconds: float | None = None
    cost: float | None = None
    price: float = 0.0
    """Per hour; 0: not known."""

    def __post_init__(self) -> None:
        if self.target is None and self.seconds is None and self.cost is None:
            raise UserError("nothing is asked for: give --target, --hours, --cost, or two of them")
        if self.cost is not None and not self.price:
            raise UserError("--cost needs --price, what an hour of the machine costs, as in --price 32.77/h")

    @property
    def limit(self) -> float | None:
        """The time limit in seconds: as given, and what the cost buys."""
        limits = [self.seconds] if self.seconds is not None else []
        if self.cost is not None:
            limits.append(self.cost / self.price * 3600)
        return min(limits) if limits else None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The pick (None: nothing fits) among all candidates, why it was picked, and what would fit."""

    request: Request
    found: Sequence[Candidate] = field(repr=False)
    pick: Candidate | None
    why: str
    advice: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """That the pick keeps both accuracy and time; 0 without a pick."""
        return self.pick.holds(self.request.target, self.request.limit) if self.pick else 0.0

    @property
    def target(self) -> float:
        """The accuracy to promise: what was asked for, else the lower end of the pick's interval; a share."""
        if self.request.target is not None:
            return self.request.target
        return round(self.pick.prediction.low - 0.0005, 3) if self.pick else 0.0

    @property
    def limit(self) -> float:
        """The time to promise in seconds: what was asked for, else the upper end of the pick's interval."""
        if self.request.limit is not None:
            return self.request.limit
        return self.pick.duration.high if self.pick else 0.0


def choose(found: Sequence[Candidate], request: Request) -> Choice:
    """The best candidate for a request, and why. Raises UserError without candidates."""
    if not found:
        raise UserError("no family can be planned for this: `python -m engine plan --families` lists them")
    target, limit = request.target, request.limit
    if target is not None and limit is not None:
        pick, why = _for_both(found, target, limit)
    elif target is not None:
        pick, why = _for_target(found, target)
    else:
        assert limit is not None
        pick, why = _for_limit(found, limit)
    return Choice(
        request=request,
        found=found,
        pick=pick,
        why=why,
        advice=() if pick else tuple(_what_would_fit(found, request)),
    )


def plan_for(
    family: Family,
    pace: Pace,
    *,
    target: float | None = None,
    seconds: float | None = None,
    price: float = 0.0,
    recipe: TrainConfig | None = None,
) -> Choice:
    """The best length of one family for a target (a share), a time limit in seconds, or both.

    `recipe` stands for the family's own where it is given. Raises UserError for senseless values.
    """
    found = candidates(family, recipe or family_recipe(family), pace, price)
    return choose(found, Request(target=target, seconds=seconds, price=price))


def likelihood(probability: float) -> str:
    """A probability in words: 88%, and >99% or <1% at the ends, which no prediction reaches."""
    if probability > 0.99:
        return ">99%"
    return "<1%" if probability < 0.01 else f"{probability:.0%}"


def fits(candidate: Candidate, request: Request) -> bool:
    """Whether both hold at the middle of their predictions."""
    target, limit = request.target, request.limit
    reached = target is None or candidate.prediction.top1 >= target
    return reached and (limit is None or candidate.duration.seconds <= limit)


def _for_both(found: Sequence[Candidate], target: float, limit: float) -> tuple[Candidate | None, str]:
    request = Request(target=target, seconds=limit)
    fitting = [one for one in found if fits(one, request)]
    if not fitting:
        return None, f"no length of any family is predicted to reach {target:.2%} in that time"
    best = max(one.holds(target, limit) for one in fitting)
    alike = [one for one in fitting if one.holds(target, limit) >= best - _ALIKE]
    pick = min(alike, key=lambda one: one.duration.seconds)
    cheaper = f"; the shortest of {len(alike)} that are as likely" if len(alike) > 1 else ""
    return pick, (
        f"the highest probability that both hold, {likelihood(pick.holds(target, limit))} "
        f"(accuracy {likelihood(pick.accuracy_holds(target))}, time {likelihood(pick.time_holds(limit))}){cheaper}"
    )


def _for_target(found: Sequence[Candidate], target: float) -> tuple[Candidate | None, str]:
    sure = [one for one in found if one.accuracy_holds(target) >= SURE]
    if sure:
        pick = min(sure, key=lambda one: one.duration.seconds)
        return pick, f"the shortest that reaches {target:.2%} with at least {SURE:.0%} probability"
    likely = [one for one in found if one.prediction.top1 >= target]
    if not likely:
        return None, f"no length of any family is predicted to reach {target:.2%}"
    pick = max(likely, key=lambda one: (one.accuracy_holds(target), -one.duration.seconds))
    return pick, f"the most likely to reach {target:.2%}; none does so with {SURE:.0%} probability"


def _for_limit(found: Sequence[Candidate], limit: float) -> tuple[Candidate | None, str]:
    sure = [one for one in found if one.time_holds(limit) >= SURE]
    if not sure:
        return None, f"no length of any family ends in that time with at least {SURE:.0%} probability"
    pick = max(sure, key=lambda one: (one.prediction.top1, -one.duration.seconds))
    return pick, f"the most accurate that ends in time with at least {SURE:.0%} probability"


def _what_would_fit(found: Sequence[Candidate], request: Request) -> list[str]:
    """More time, fewer points, another storage: each with its number."""
    target, limit = request.target, request.limit
    best = max(found, key=lambda one: one.prediction.top1)
    reaching = [one for one in found if target is not None and one.prediction.top1 >= target]
    in_time = [one for one in found if limit is not None and one.duration.seconds <= limit]
    advice = []
    if target is not None and not reaching:
        advice.append(
            f"fewer points: {best.prediction.top1:.2%} is the most that is known here ({best.family.name}, "
            f"{best.epochs:g} epochs, {_time(best)})"
        )
        return advice
    shortest = min(reaching or found, key=lambda one: one.duration.seconds)
    if target is not None:
        words = (
            f"{shortest.family.name} reaches {target:.2%} in {shortest.epochs:g} epochs, {_time(shortest)}"
        )
    else:
        words = (
            f"the shortest run, {shortest.epochs:g} epochs of {shortest.family.name}, takes {_time(shortest)}"
        )
    advice.append(f"more time: {words}")
    if in_time and target is not None:
        most = max(in_time, key=lambda one: one.prediction.top1)
        advice.append(
            f"fewer points: {most.family.name} reaches {most.prediction.top1:.2%} in {most.epochs:g} epochs, "
            f"{_time(most)}"
        )
    if limit is not None and shortest.duration.seconds > limit:
        times = shortest.duration.seconds / limit
        advice.append(f"more GPUs or a faster machine: {times:.2g} times as fast as this one")
    if shortest.duration.limited_by in ("decode", "disk"):
        advice.append(_storage_advice(shortest))
    return advice


def _storage_advice(candidate: Candidate) -> str:
    side = candidate.pace.sides[-1]
    rest = min((rate for stage, rate in side.stages.items() if stage != side.limited_by), default=side.rate)
    how = "yuv420, which needs little decoding" if side.limited_by == "decode" else "jpeg, which is smaller"
    return (
        f"another storage: {side.limited_by} limits at {side.rate:,.0f} images/s where the rest does {rest:,.0f} "
        f"(at {side.side} px): {how}, or a faster {'disk' if side.limited_by == 'disk' else 'CPU'}"
    )


def _time(candidate: Candidate) -> str:
    minutes = candidate.duration.seconds / 60
    spent = f", {candidate.cost:,.2f}" if candidate.cost is not None else ""
    return (f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours") + spent
