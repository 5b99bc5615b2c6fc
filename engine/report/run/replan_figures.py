"""What budget.adapt did: the planned length and the predicted end of the run against its clock."""

from engine.report import text
from engine.report.contract_words import epochs_words, length
from engine.report.drawing import charts
from engine.report.drawing.axes import HALF, Figure, frame_of, plain_ticks, points_of, time_ticks
from engine.report.drawing.charts import Frame, Point
from engine.runs.log_reader import History
from engine.runs.log_schema import ReplanLine, ResultLine


def replan_figures(history: History, limit: float | None) -> list[Figure]:
    """Both figures; none of a run that was never re-planned. `limit`: the time limit in seconds."""
    replans = [replan for replan in history.replans if replan.elapsed_seconds is not None]
    end = _end(history)
    if not replans or not end:
        return []
    drawn = [_length(replans, end), _predicted_end(replans, end, limit, history.result)]
    return [figure for figure in drawn if figure is not None]


def _end(history: History) -> float:
    """The clock at the run's end, or so far."""
    clocks = [
        *(replan.elapsed_seconds for replan in history.replans),
        *(epoch.elapsed_seconds for epoch in history.epochs),
        history.result and history.result.elapsed_seconds,
    ]
    return max(clock or 0.0 for clock in clocks)


def _length(replans: list[ReplanLine], end: float) -> Figure:
    """Planned epochs as steps."""
    before = replans[0].length_before
    points: list[Point] = [(0.0, before)] if before is not None else []
    for replan in replans:
        clock = replan.elapsed_seconds or 0.0
        points += [(clock, points[-1][1])] if points else []
        points.append((clock, replan.length))
    points.append((end, replans[-1].length))
    values = [y for _, y in points]
    y_ticks = charts.nice_ticks(min(values), max(values), 4)
    frame, x_name, x_ticks = _clock_frame(end, (y_ticks[0], y_ticks[-1]))
    parts = [*charts.axes(frame, x_ticks, plain_ticks(y_ticks), x_name, "epochs in all")]
    parts.append(charts.line(frame, points, "first"))
    changes = points_of((replan.elapsed_seconds, replan.length) for replan in replans)
    parts.append(charts.dots(frame, changes, "first", 3.5))
    columns = [(replan.elapsed_seconds or 0.0, _reading(replan)) for replan in replans]
    parts += charts.readings(frame, columns)
    changed = f"{length(before)} to " if before is not None else ""
    about = f"From {changed}{epochs_words(replans[-1].length)} in {len(replans)} re-plan"
    about += "s." if len(replans) > 1 else "."
    drawn = charts.svg(frame, "planned-length", "Planned length", about, parts, HALF.name)
    return Figure(
        title="Planned length", svgs=[drawn], legend=[("first", "epochs in all, as planned")], note=about
    )


def _predicted_end(
    replans: list[ReplanLine], end: float, limit: float | None, result: ResultLine | None
) -> Figure | None:
    """When the run would have ended without each change, and with it."""
    without = points_of((one.elapsed_seconds, _without_change(one)) for one in replans)
    with_it = points_of((one.elapsed_seconds, one.predicted_seconds) for one in replans)
    took = result.elapsed_seconds if result else None
    values = [y for _, y in without + with_it]
    values += [value for value in (limit, took) if value]
    if not without and not with_it:
        return None
    margin = 0.15 * (max(values) - min(values)) or 0.02 * max(values)
    low, high = max(0.0, min(values) - margin), max(values) + margin
    unit, seconds = next((u for u in (("hours", 3600), ("minutes", 60)) if high >= 2 * u[1]), ("seconds", 1))
    y_ticks = [tick * seconds for tick in charts.nice_ticks(low / seconds, high / seconds, 4)]
    frame, x_name, x_ticks = _clock_frame(end, (y_ticks[0], y_ticks[-1]))
    named = [(tick, f"{tick / seconds:g}") for tick in y_ticks]
    parts = [*charts.axes(frame, x_ticks, named, x_name, f"end of the run, {unit}")]
    parts += _limit_line(frame, limit)
    for one in replans:
        clock, before, after = one.elapsed_seconds, _without_change(one), one.predicted_seconds
        if clock is not None and before is not None and after is not None:
            parts.append(charts.line(frame, [(clock, before), (clock, after)], "first faint"))
    parts.append(charts.dots(frame, without, "second", 4))
    parts.append(charts.dots(frame, with_it, "first", 4))
    legend = [("second point", "without the change"), ("first point", "with it")]
    if took:
        parts.append(charts.diamond(frame, (end, took), "plain", f"it took {text.duration(took)}"))
        legend.append(("plain", "it took"))
    parts += charts.readings(frame, [(one.elapsed_seconds or 0.0, _reading(one)) for one in replans])
    about = "; ".join(_reading(one) for one in replans)
    drawn = charts.svg(frame, "predicted-end", "Predicted end", about, parts, HALF.name)
    note = "At each re-plan: when the run would have ended, and when it ends with the new length."
    return Figure(title="Predicted end", svgs=[drawn], legend=legend, note=note)


def _limit_line(frame: Frame, limit: float | None) -> list[str]:
    if not limit:
        return []
    name = f"time limit {text.duration(limit)}"
    return [
        charts.rule(frame, "goal-line", y=limit),
        charts.label(frame.edge - 4, frame.y(limit) - 6, name, "goal-name end"),
    ]


def _without_change(replan: ReplanLine) -> float | None:
    """Seconds after which the run would have ended with the length it had before."""
    known = (replan.elapsed_seconds, replan.seconds_left, replan.late_seconds)
    return None if None in known else sum(value or 0.0 for value in known)


def _reading(replan: ReplanLine) -> str:
    words = f"after {text.duration(replan.elapsed_seconds)}: {epochs_words(replan.length)}"
    before = _without_change(replan)
    if before is not None:
        words += f", would have ended after {text.duration(before)}"
    if replan.predicted_seconds is not None:
        words += f", now after {text.duration(replan.predicted_seconds)}"
    return words


def _clock_frame(end: float, y: tuple[float, float]) -> tuple[Frame, str, list[charts.Tick]]:
    unit, ticks = time_ticks(end, 6)
    frame = frame_of(HALF, (0, 1.03 * end), y)
    return frame, f"clock, {unit}", [tick for tick in ticks if tick[0] <= 1.03 * end]
