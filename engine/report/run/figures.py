"""The report's figures: accuracy against time, where the time went, and the smaller ones by epoch."""

from dataclasses import dataclass
from typing import Any

from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.axes import (
    Figure,
    Size,
    curve,
    epoch_frame,
    epoch_ticks,
    frame_of,
    grouped,
    in_both_sizes,
    named,
    points_of,
    span,
    thinned,
    time_ticks,
)
from engine.report.drawing.charts import Frame, Point
from engine.report.run import by_epoch
from engine.report.terminal.summary import clock_words, plain_measured_as
from engine.runs.log_reader import History, goal, total
from engine.runs.log_schema import EpochLine, ResultLine

# One part of an epoch's time: its CSS class, what it is called, what it is called as a bottleneck.
PARTS = (
    ("compute", "computing", "The model's arithmetic set the pace"),
    ("wait", "waiting for data", "Reading and decoding images set the pace"),
    ("val", "validation", "Most of the time was spent validating"),
    ("other", "other", "Most of the time is not accounted for"),
)


def small_figures(history: History) -> list[Figure]:
    """The figures that stand side by side, as far as there is something to show."""
    if not history.epochs:
        return []
    makers = (by_epoch.throughput, by_epoch.learning_rate, by_epoch.resolution)
    drawn = [by_epoch.loss(history.epochs, history.steps), *(make(history.epochs) for make in makers)]
    return [figure for figure in drawn if figure is not None]


@dataclass(frozen=True, kw_only=True)
class _Accuracy:
    """What the accuracy figure shows: validations (with and without TTA), the plain result, the goal."""

    measured: list[EpochLine]
    main: list[Point]
    bare: list[Point]
    plain: float | None
    target: float | None
    limit: float | None


def accuracy(history: History, config: dict[str, Any]) -> Figure | None:
    """Top-1 against the training clock, with the goal it was to reach."""
    measured = [epoch for epoch in history.validated if epoch.elapsed_seconds is not None]
    if not measured:
        return None
    result = history.result or ResultLine()
    tta = bool(config.get("validation", {}).get("lr_tta") if result.tta is None else result.tta)
    target, limit = goal(config, history.result)
    data = _Accuracy(
        measured=measured,
        main=points_of((epoch.elapsed_seconds, epoch.top1) for epoch in measured),
        bare=points_of((epoch.elapsed_seconds, epoch.top1_no_tta) for epoch in measured) if tta else [],
        plain=result.plain_top1,
        target=target,
        limit=limit,
    )
    legend = [("first", "with flip TTA"), ("second dashed", "no TTA")] if tta else [("first", "top-1")]
    if data.plain is not None:
        legend.append(("plain", f"plain result ({plain_measured_as(result)})"))
    if target:
        legend.append(("goal", "goal"))
    note = (
        f"Each point is one validation on the whole validation set. The clock counts {clock_words(history)}."
    )
    svgs = in_both_sizes(lambda size: _draw_accuracy(data, size))
    return Figure(title="Accuracy against time", svgs=svgs, legend=legend, note=note)


def _draw_accuracy(data: _Accuracy, size: Size) -> str:
    values = [y for _, y in data.main + data.bare]
    values += [value for value in (data.plain, data.target) if value is not None]
    y_ticks = [tick for tick in charts.nice_ticks(min(values), max(values), 5) if tick <= 1]
    end = max(data.main[-1][0], data.limit or 0)
    unit, x_ticks = time_ticks(end, 12 if size.width > 500 else 4)
    x_ticks = [tick for tick in x_ticks if tick[0] <= 1.03 * end]
    # Room above the highest value, so that its label does not leave the plot.
    room = 0.06 * (y_ticks[-1] - y_ticks[0] or 0.01)
    frame = frame_of(size, (0, 1.03 * end), (y_ticks[0], max(y_ticks[-1], max(values) + room)))
    digits = 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in y_ticks) else 1
    names = [(tick, text.percent(tick, digits)) for tick in y_ticks]
    parts = [_goal_zone(frame, data)]
    parts += charts.axes(frame, x_ticks, names, f"training clock, {unit}", "top-1 accuracy")
    parts += [*_goal_lines(frame, data)]
    parts += [*curve(frame, data.bare, "second dashed", 2), *curve(frame, data.main, "first", 3.5)]
    columns = [(epoch.elapsed_seconds or 0.0, _accuracy_reading(epoch)) for epoch in data.measured]
    parts += charts.readings(frame, thinned(columns, size.readings))
    parts += [*_last_marks(frame, data)]
    last = f"{text.percent(data.main[-1][1])} after {text.duration(data.main[-1][0])}"
    about = f"{len(data.main)} validations; the last gave {last}."
    return charts.svg(frame, f"accuracy-{size.name}", "Accuracy against time", about, parts, size.name)


def _goal_zone(frame: Frame, data: _Accuracy) -> str:
    if not data.target:
        return ""
    right = data.limit or frame.x_high
    return charts.area(frame, "goal", (0, data.target), (right, frame.y_high))


def _goal_lines(frame: Frame, data: _Accuracy) -> list[str]:
    parts = []
    if data.target:
        parts.append(charts.rule(frame, "goal-line", y=data.target))
        name = f"target {text.percent(data.target, 1)}"
        parts.append(charts.label(frame.left + 8, frame.y(data.target) - 6, name, "goal-name"))
    if data.limit:
        parts.append(charts.rule(frame, "goal-line", x=data.limit))
        name = f"budget {text.duration(data.limit)}"
        x, y = frame.x(data.limit), frame.floor - 9
        beside = x - frame.left > 130
        parts.append(
            charts.label(x - 7 if beside else x + 7, y, name, f"goal-name{' end' if beside else ''}")
        )
    return parts


def _last_marks(frame: Frame, data: _Accuracy) -> list[str]:
    """The plain result's marker, and the last validation's figure where it has room."""
    seconds, top1 = data.main[-1]
    parts = []
    if data.plain is not None:
        title = f"plain result: {text.percent(data.plain)}"
        parts.append(charts.diamond(frame, (seconds, data.plain), "plain", title))
    x, y = frame.x(seconds), frame.y(top1)
    beside = frame.edge - x > 80
    place = (x + 11, y + 5, "value") if beside else (x - 2, y - 11, "value end")
    return [*parts, charts.label(*place[:2], text.percent(top1), place[2])]


def _accuracy_reading(epoch: EpochLine) -> str:
    words = f"epoch {epoch.epoch}, {text.duration(epoch.elapsed_seconds)}: {text.percent(epoch.top1)}"
    bare = epoch.top1_no_tta
    return words + (f", no TTA {text.percent(bare)}" if bare is not None and bare != epoch.top1 else "")


def time_spent(epochs: list[EpochLine]) -> Figure | None:
    """Where each epoch's time went, stacked."""
    seconds = _parts(epochs)
    whole = sum(seconds.values())
    if not whole:
        return None
    shares = {part: value / whole for part, value in seconds.items()}
    shown = [(part, name) for part, name, _ in PARTS if shares[part] >= 0.002]
    legend = [(part, f"{name} {text.percent(shares[part], 1)}") for part, name in shown]
    slowest = max(PARTS, key=lambda part: shares[part[0]])
    note = f"{slowest[2]}: {text.percent(shares[slowest[0]], 0)} of {text.duration(whole)}."
    svgs = in_both_sizes(lambda size: _draw_time(epochs, shown, "; ".join(name for _, name in legend), size))
    return Figure(title="Where the time went", svgs=svgs, legend=legend, note=note)


def _draw_time(epochs: list[EpochLine], shown: list[tuple[str, str]], about: str, size: Size) -> str:
    groups = grouped(epochs, size.bars)
    bars = [(group, {part: value / len(group) for part, value in _parts(group).items()}) for group in groups]
    unit, y_ticks = time_ticks(max(sum(parts.values()) for _, parts in bars), 4)
    frame = epoch_frame(epochs, size, (0, y_ticks[-1][0]))
    pieces = [*charts.axes(frame, epoch_ticks(epochs, size), y_ticks, "epoch", f"{unit} per epoch")]
    for group, parts in bars:
        words = ", ".join(f"{name} {text.duration(parts[part])}" for part, name in shown)
        heights = [(parts[part], part) for part, _ in shown]
        pieces.append(charts.stacked_bar(frame, *span(group), heights, f"{named(group)}: {words}"))
    return charts.svg(frame, f"time-{size.name}", "Where the time went", about, pieces, size.name)


def _parts(epochs: list[EpochLine]) -> dict[str, float]:
    """Seconds by part over these epochs; what training time no one claims is "other"."""
    compute = total(epoch.compute_seconds for epoch in epochs)
    wait = total(epoch.data_wait_seconds for epoch in epochs)
    other = max(0.0, total(epoch.train_seconds for epoch in epochs) - compute - wait)
    return {
        "compute": compute,
        "wait": wait,
        "val": total(epoch.val_seconds for epoch in epochs),
        "other": other,
    }
