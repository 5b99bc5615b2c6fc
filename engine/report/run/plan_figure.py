"""The report's figure "Plan and result": a run beside what its family predicts for every length.

Nothing is drawn where the family is unknown here or covers a single length, nor where nothing was predicted.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.config.train.training import timeline_changes
from engine.errors import UserError
from engine.report import text
from engine.report.contract_words import epochs_words, judged_top1
from engine.report.drawing.axes import Figure, in_both_sizes
from engine.report.drawing.frontier import Line, Place
from engine.report.drawing.plan_chart import PLANNED, REACHED, REPLANNED, Mark, PlanChart, draw_plan
from engine.runs.log_reader import History, goal
from engine.runs.log_schema import ReplanLine

if TYPE_CHECKING:
    from engine.knowledge.family import Family, Prediction

_AROUND = 2.0
"""The family is drawn from half of the run's length to twice of it, as far as it is known."""
_PLACES = 32
"""Corners of the curve."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The family of a run, the length that was planned, and the planned minutes of an epoch (None: not planned)."""

    family: "Family"
    epochs: float
    minutes_per_epoch: float | None

    def across(self, epochs: float | None, seconds: float | None) -> float | None:
        """Where a run belongs on the axis: its minutes, or its epochs where no time was planned."""
        if self.minutes_per_epoch is None:
            return epochs
        return None if seconds is None else seconds / 60


def plan_and_result(history: History, config: dict[str, Any]) -> Figure | None:
    """The figure; None of a run that nothing can be drawn for."""
    plan = _plan(history, config)
    if plan is None:
        return None
    planned, replanned = _planned(history, plan), _replanned(history, plan)
    if planned is None and not replanned:
        return None
    reached = _reached(history, plan)
    places, readings = _curve(plan, history)
    target, limit = goal(config, history.result)
    limit = _positive(limit) if plan.minutes_per_epoch else None
    chart = PlanChart(
        line=Line(name=plan.family.name, measured=plan.family.measured, places=places),
        readings=readings,
        by_epochs=plan.minutes_per_epoch is None,
        planned=planned,
        replanned=replanned,
        reached=reached,
        target=_share(target),
        limit=None if limit is None else limit / 60,
    )
    return Figure(
        title="Plan and result",
        svgs=in_both_sizes(lambda size: draw_plan(chart, size)),
        legend=_legend(chart),
        note=_note(plan),
    )


def _plan(history: History, config: dict[str, Any]) -> _Plan | None:
    options = config.get("plan") or {}
    name = history.start.family or options.get("family")
    # Only validated, or without any family: the families' files need not be read.
    if not name or not isinstance(name, str) or (history.result and not history.epochs):
        return None
    from engine.knowledge.families import FAMILIES

    family, epochs = FAMILIES.get(name), _planned_epochs(history, config)
    if family is None or epochs is None or family.range()[0] == family.range()[1]:
        return None
    seconds = _positive(history.start.predicted_seconds)
    # The clock of a stage counts the stages before it, whose epochs are not among its own.
    alone = (history.start.stages or 1) == 1
    per_epoch = seconds / 60 / epochs if seconds is not None and alone else None
    return _Plan(family=family, epochs=epochs, minutes_per_epoch=per_epoch)


def _planned_epochs(history: History, config: dict[str, Any]) -> float | None:
    """The length at the run's start; when it ends, training.timeline in its config.yaml holds the re-plans too."""
    if history.replans:
        before = _positive(history.replans[0].length_before)
        if before is not None:
            return before
    training = config.get("training") or {}
    try:
        changes = timeline_changes(str(training.get("timeline") or ""))
    except UserError:
        return None
    if changes and (not history.replans or changes[0].at == 0):
        return changes[0 if history.replans else -1].epochs
    return _positive(training.get("epochs"))


def _planned(history: History, plan: _Plan) -> Mark | None:
    start = history.start
    seconds = _positive(start.predicted_seconds)
    across, top1 = plan.across(plan.epochs, seconds), _share(start.predicted_top1)
    low, high = _share(start.predicted_top1_low), _share(start.predicted_top1_high)
    if history.resumed_at and history.replans:
        # The start line of a resumed run predicts the length after the re-plans.
        found = _predict(plan.family, plan.epochs)
        top1, low, high = (found.top1, found.low, found.high) if found else (None, None, None)
    if across is None or top1 is None:
        return None
    fast, slow = _positive(start.predicted_seconds_low), _positive(start.predicted_seconds_high)
    timed = plan.minutes_per_epoch is not None and fast is not None and slow is not None
    ends = (fast / 60, slow / 60) if timed and fast and slow else (across, across)
    place = _place(across, top1, (low, high), ends)
    took = "" if seconds is None else f", {_time(seconds, fast, slow)}"
    return Mark(place=place, words=f"planned: {epochs_words(plan.epochs)}{took}, {_accuracy(place)}")


def _replanned(history: History, plan: _Plan) -> list[Mark]:
    return [mark for replan in history.replans if (mark := _replan(replan, plan)) is not None]


def _replan(replan: ReplanLine, plan: _Plan) -> Mark | None:
    length, seconds = _positive(replan.length), _positive(replan.predicted_seconds)
    across, top1 = plan.across(length, seconds), _share(replan.predicted_top1)
    if across is None or top1 is None:
        return None
    interval = _share(replan.predicted_top1_low), _share(replan.predicted_top1_high)
    place = _place(across, top1, interval, (across, across))
    took = "" if seconds is None else f", {text.duration(seconds)}"
    return Mark(place=place, words=f"re-planned: {epochs_words(length)}{took}, {_accuracy(place)}")


def _reached(history: History, plan: _Plan) -> Mark | None:
    result = history.result
    if result is None:
        return None
    epochs, seconds = _reached_epochs(history), _positive(result.elapsed_seconds)
    across, top1 = plan.across(epochs, seconds), _share(judged_top1(result))
    if across is None or top1 is None:
        return None
    place = _place(across, top1, (None, None), (across, across))
    took = "" if seconds is None else f", {text.duration(seconds)}"
    return Mark(place=place, words=f"reached: {epochs_words(epochs)}{took}, {text.percent(top1)}")


def _reached_epochs(history: History) -> float | None:
    length = _positive(history.result.length) if history.result else None
    return length if length is not None else float(len(history.epochs)) or None


def _curve(plan: _Plan, history: History) -> tuple[list[Place], list[tuple[float, str]]]:
    """The family's runs from the shortest to the longest that is drawn, and the words on each."""
    lengths = [plan.epochs, *(_positive(replan.length) for replan in history.replans)]
    lengths.append(_reached_epochs(history))
    known = [length for length in lengths if length is not None]
    least, most = plan.family.range()
    # Of a run outside of what the family covers: all of that.
    low = max(least, min(known) / _AROUND) if min(known) / _AROUND < most else least
    high = min(most, max(known) * _AROUND) if max(known) * _AROUND > low else most
    places, readings = [], []
    for number in range(_PLACES):
        epochs = low * (high / low) ** (number / (_PLACES - 1))
        found = _predict(plan.family, epochs)
        if found is None:
            continue
        minutes = epochs * (plan.minutes_per_epoch or 1.0)
        place = _place(minutes, found.top1, (found.low, found.high), (minutes, minutes))
        took = f", {text.duration(60 * minutes)}" if plan.minutes_per_epoch else ""
        places.append(place)
        readings.append((minutes, f"{epochs:.3g} epochs{took}: {_accuracy(place)}"))
    return places, readings


def _predict(family: "Family", epochs: float) -> "Prediction | None":
    try:
        return family.predict(epochs)
    except UserError:
        # Outside of what it covers nothing is predicted.
        return None


def _place(
    across: float, top1: float, interval: tuple[float | None, float | None], ends: tuple[float, float]
) -> Place:
    low, high = interval
    return Place(
        minutes=across,
        minutes_low=min(across, ends[0]),
        minutes_high=max(across, ends[1]),
        top1=top1,
        top1_low=top1 if low is None else min(top1, low),
        top1_high=top1 if high is None else max(top1, high),
    )


def _legend(chart: PlanChart) -> list[tuple[str, str]]:
    kind = "measured by this project" if chart.line.measured else "published"
    keys = [
        ("first" if chart.line.measured else "first published", f"{chart.line.name} ({kind}), as predicted"),
        ("band", "90% interval for one run"),
    ]
    if chart.planned:
        keys.append((PLANNED, chart.planned.words))
    if chart.replanned:
        words, count = chart.replanned[-1].words, len(chart.replanned)
        keys.append((REPLANNED, words.replace(":", f" {count} times, last:", 1) if count > 1 else words))
    if chart.reached:
        keys.append((REACHED, chart.reached.words))
    return keys


def _note(plan: _Plan) -> str:
    family = plan.family
    words = f"{family.name}: {family.title}, {family.data}; {family.source}."
    if plan.minutes_per_epoch is not None:
        words += f" Time of other lengths: {text.duration(60 * plan.minutes_per_epoch)} an epoch, as planned."
    return f"{words} Whiskers: 90% intervals."


def _time(seconds: float, low: float | None, high: float | None) -> str:
    interval = f" [{text.duration(low)} to {text.duration(high)}]" if low and high else ""
    return f"{text.duration(seconds)}{interval}"


def _accuracy(place: Place) -> str:
    known = place.top1_low < place.top1_high
    interval = f" [{text.percent(place.top1_low)} to {text.percent(place.top1_high)}]" if known else ""
    return f"{text.percent(place.top1)}{interval}"


def _positive(value: Any) -> float | None:
    """A number above 0; None for anything else, which a log or a file of settings from elsewhere may hold."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and 0 < value < math.inf else None


def _share(value: Any) -> float | None:
    """A share from 0 to 1, else None."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and 0 <= value <= 1 else None
