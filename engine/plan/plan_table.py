"""A choice in words: the table for a terminal, the JSON for programs, and the frontier's picture."""

from collections.abc import Sequence
from typing import Any

from engine.plan.candidates import Candidate, frontier
from engine.plan.choice import Choice, Request, choose, fits, likelihood
from engine.report import text
from engine.report.drawing import frontier as picture

_FAMILIES = 6
_SHORT, _LATE = 0.05, 5.0
_HEADINGS = ("family", "epochs", "minutes [90%]", "top-1 [90%]", "cost", "limit", "both hold")


def plan_lines(choice: Choice) -> list[str]:
    """The table, and the pick or what would fit."""
    rows = table_rows(choice)
    cells = [_HEADINGS, *(_cells(row, choice) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [_joined(line, widths) for line in cells]
    notes = [note for row in rows for note in row.pace.notes]
    lines += [f"note: {note}" for note in dict.fromkeys(notes)]
    if choice.pick is None:
        return [*lines, f"nothing fits: {choice.why}", *choice.advice]
    return [*lines, *_pick_lines(choice, choice.pick)]


def table_rows(choice: Choice) -> list[Candidate]:
    """A few rows, the shortest run first: the best of each family that comes near, and the pick's neighbours."""
    by_family: dict[str, list[Candidate]] = {}
    for one in choice.found:
        by_family.setdefault(one.family.name, []).append(one)
    best = [
        choose(own, choice.request).pick or max(own, key=lambda one: _closeness(one, choice.request))
        for own in by_family.values()
    ]
    best.sort(key=lambda one: _closeness(one, choice.request), reverse=True)
    rows = [one for one in best[:_FAMILIES] if _near(one, choice.request)] or best[:3]
    if choice.pick:
        own = by_family[choice.pick.family.name]
        place, step = own.index(choice.pick), max(1, len(own) // 12)
        rows += [own[near] for near in (place - step, place, place + step) if 0 <= near < len(own)]
    distinct = {(row.family.name, row.epochs): row for row in rows}
    return sorted(distinct.values(), key=lambda row: row.duration.seconds)


def _near(one: Candidate, request: Request) -> bool:
    """Whether a candidate is worth a row: not several times too long, not many points short."""
    target, limit = request.target, request.limit
    close = target is None or one.prediction.top1 >= target - _SHORT
    return close and (limit is None or one.duration.seconds <= _LATE * limit)


def _closeness(one: Candidate, request: Request) -> tuple[float, float]:
    """How well a candidate suits; of those that suit not at all, the nearer one."""
    target, limit = request.target, request.limit
    lack = 0.0 if target is None else max(0.0, target - one.prediction.top1)
    late = 0.0 if limit is None else max(0.0, one.duration.seconds / limit - 1)
    return round(one.holds(target, limit), 2), -(lack * 20 + late)


def _cells(one: Candidate, choice: Choice) -> tuple[str, ...]:
    request, duration, found = choice.request, one.duration, one.prediction
    mark = " <-" if one == choice.pick else ""
    return (
        one.family.name,
        f"{one.epochs:g}",
        f"{minutes(duration.seconds)} [{minutes(duration.low)}-{minutes(duration.high)}]",
        f"{text.percent(found.top1, 1)} [{100 * found.low:.1f}-{100 * found.high:.1f}]",
        text.MISSING if one.cost is None else f"{one.cost:,.2f}",
        duration.limited_by,
        f"{likelihood(one.holds(request.target, request.limit))}{mark}",
    )


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _pick_lines(choice: Choice, pick: Candidate) -> list[str]:
    duration, found = pick.duration, pick.prediction
    parts = ", ".join(
        f"{name} {text.duration(seconds)}" for name, seconds in duration.parts.items() if seconds >= 0.05
    )
    spent = f", cost {pick.cost:,.2f}" if pick.cost is not None else ""
    kind = "our own measured runs" if pick.family.measured else f"published runs: {pick.family.source}"
    lines = [
        f"pick       {pick.family.name}, {pick.epochs:g} epochs: {text.percent(found.top1)} "
        f"[{text.percent(found.low)} to {text.percent(found.high)}] in {text.duration(duration.seconds)} "
        f"[{text.duration(duration.low)} to {text.duration(duration.high)}]{spent}",
        f"why        {choice.why}",
        f"time       {parts}; limited by {duration.limited_by}",
        f"accuracy   from {kind}",
    ]
    if choice.request.target is None:
        lines.append(f"target     {text.percent(choice.target)}: the lower end of the interval")
    if choice.request.limit is None:
        lines.append(f"budget     {text.duration(choice.limit)}: the upper end of the interval")
    return lines


def minutes(seconds: float) -> str:
    """Minutes with the digits that matter: 0.82, 15.1, 248."""
    value = seconds / 60
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def as_json(choice: Choice) -> dict[str, Any]:
    """What was asked, the pick, and every candidate; times in seconds, accuracies as shares."""
    request = choice.request
    return {
        "asked": {
            "target_top1": request.target,
            "seconds": request.seconds,
            "cost": request.cost,
            "price_per_hour": request.price or None,
            "limit_seconds": request.limit,
        },
        "fits": choice.pick is not None,
        "pick": _entry(choice.pick, choice) if choice.pick else None,
        "why": choice.why,
        "advice": list(choice.advice),
        "candidates": [_entry(one, choice) for one in choice.found],
    }


def _entry(one: Candidate, choice: Choice) -> dict[str, Any]:
    request, duration, found = choice.request, one.duration, one.prediction
    return {
        "family": one.family.name,
        "measured_family": one.family.measured,
        "recipe": one.family.recipe,
        "epochs": one.epochs,
        "seconds": duration.seconds,
        "seconds_low": duration.low,
        "seconds_high": duration.high,
        "parts": duration.parts,
        "limited_by": duration.limited_by,
        "top1": found.top1,
        "top1_low": found.low,
        "top1_high": found.high,
        "cost": one.cost,
        "accuracy_holds": one.accuracy_holds(request.target),
        "time_holds": one.time_holds(request.limit),
        "both_hold": one.holds(request.target, request.limit),
        "fits": fits(one, request),
        "machine": one.pace.machine,
        "basis": one.pace.basis,
        "measured_pace": one.pace.measured,
        "images_per_second": {str(side): one.pace.at(side).rate for side in one.sides},
    }


def draw_frontier(choice: Choice) -> str:
    """The picture of all candidates, by family, as SVG."""
    request, pace = choice.request, choice.found[0].pace
    by_family: dict[str, list[Candidate]] = {}
    for one in choice.found:
        by_family.setdefault(one.family.name, []).append(one)
    lines = [
        picture.Line(
            name=name, measured=own[0].family.measured, places=[_place(one) for one in frontier(own)]
        )
        for name, own in by_family.items()
    ]
    pick = choice.pick
    goal = picture.Goal(
        target=request.target,
        minutes=None if request.limit is None else request.limit / 60,
        pick=_place(pick) if pick else None,
        name=f"{pick.family.name}, {pick.epochs:g} epochs" if pick else "",
    )
    speeds = "speeds measured here" if pace.measured else "published speeds, not measured here"
    note = f"{speeds}; bands and whiskers: 90% intervals"
    return picture.draw(f"Accuracy against time on {pace.machine}", note, lines, goal)


def _place(one: Candidate) -> picture.Place:
    duration, found = one.duration, one.prediction
    return picture.Place(
        minutes=duration.seconds / 60,
        minutes_low=duration.low / 60,
        minutes_high=duration.high / 60,
        top1=found.top1,
        top1_low=found.low,
        top1_high=found.high,
    )
