"""The report's smaller figures, all over the same epoch axis: loss, throughput, learning rate, resolution."""

from itertools import pairwise
from statistics import quantiles

from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.axes import (
    HALF,
    MOST_POINTS,
    Figure,
    curve,
    distinct,
    epoch_frame,
    epoch_ticks,
    grouped,
    named,
    plain_ticks,
    points_of,
    readings,
    span,
    thinned,
)
from engine.report.drawing.charts import Point
from engine.runs.log_reader import mean_throughput
from engine.runs.log_schema import EpochLine, StepsLine


def loss(epochs: list[EpochLine], steps: list[StepsLine]) -> Figure | None:
    """Training and validation loss; and the training loss within the epochs, where it was logged."""
    train = points_of((epoch.epoch, epoch.train_loss) for epoch in epochs)
    val = points_of((epoch.epoch, epoch.val_loss) for epoch in epochs)
    within = _within(epochs, steps)
    values = [y for _, y in train + val + within]
    if not values:
        return None
    high = _without_spikes(values)
    ticks = charts.nice_ticks(min(values), high, 4)
    frame = epoch_frame(epochs, HALF, (ticks[0], ticks[-1]))
    cut = sum(value > ticks[-1] for value in values)
    about = f"Training loss from {text.number(train[0][1])} to {text.number(train[-1][1])}." if train else ""
    within, train, val = ([(x, min(y, ticks[-1])) for x, y in line] for line in (within, train, val))
    parts = [*charts.axes(frame, epoch_ticks(epochs, HALF), plain_ticks(ticks), "epoch", "cross-entropy")]
    parts += [charts.line(frame, within, "second faint"), *curve(frame, train, "second")]
    parts += curve(frame, val, "first")
    parts += readings(frame, epochs, HALF, _loss_reading)
    legend = [("second", "training")] + ([("first", "validation")] if val else [])
    legend += [("second faint", "training within epochs")] if within else []
    drawn = charts.svg(frame, "loss", "Loss by epoch", about, parts, HALF.name)
    note = (
        "Training is measured on random crops, with label smoothing if the recipe has it; validation is not."
    )
    if cut:
        note += f" {cut} of {len(values)} values are above the figure, up to {max(values):.3g}."
    return Figure(title="Loss", svgs=[drawn], legend=legend, note=note)


def _without_spikes(values: list[float]) -> float:
    """The largest value but those far out (Tukey 1977): above the upper quartile by 3 times the quartiles' distance."""
    if len(values) < 8:
        return max(values)
    low, _, high = quantiles(values, n=4)
    return max(value for value in values if value <= high + 3 * (high - low))


def _within(epochs: list[EpochLine], steps: list[StepsLine]) -> list[Point]:
    """The training loss where the steps lie within the width of their epoch; only of epochs that are shown."""
    shown = {epoch.epoch for epoch in epochs}
    points = points_of(
        (line.epoch - 0.5 + line.step / line.steps, line.train_loss)
        for line in steps
        if line.epoch in shown and line.steps
    )
    return thinned(points, MOST_POINTS)


def throughput(epochs: list[EpochLine]) -> Figure | None:
    """Training images per second."""
    rates = [(group, mean_throughput(group)) for group in grouped(epochs, HALF.bars)]
    known = [(group, value) for group, value in rates if value]
    if not known:
        return None
    ticks = charts.nice_ticks(0, max(value for _, value in known), 4)
    frame = epoch_frame(epochs, HALF, (0, ticks[-1]))
    names = [(tick, text.rate_tick(tick)) for tick in ticks]
    parts = [*charts.axes(frame, epoch_ticks(epochs, HALF), names, "epoch", "images per second")]
    for group, value in known:
        words = f"{named(group)}: {text.rate(value)} images/s at {group[-1].resolution or '?'} px"
        parts.append(charts.stacked_bar(frame, *span(group), [(value, "compute")], words))
    slow, fast = min(value for _, value in known), max(value for _, value in known)
    about = f"Between {text.rate(slow)} and {text.rate(fast)} images per second, over all devices."
    drawn = charts.svg(frame, "throughput", "Training throughput by epoch", about, parts, HALF.name)
    return Figure(title="Throughput", svgs=[drawn], legend=[("compute", "training only")], note=about)


def learning_rate(epochs: list[EpochLine]) -> Figure | None:
    """The learning rate at the end of each epoch, and inside an epoch that holds a peak."""
    points: list[Point] = []
    before = None
    for epoch in epochs:
        end, peak = epoch.lr, epoch.lr_peak
        if end is None:
            continue
        # Where inside the epoch the peak was is not logged; its middle is as good a place as any.
        if before is not None and peak is not None and peak > 1.01 * max(end, before):
            points.append((epoch.epoch - 0.5, peak))
        points.append((epoch.epoch, end))
        before = end
    if not points:
        return None
    highest = max([y for _, y in points] + [epoch.lr_peak or 0 for epoch in epochs])
    ticks = charts.nice_ticks(0, max(y for _, y in points), 4)
    frame = epoch_frame(epochs, HALF, (0, ticks[-1]))
    parts = [*charts.axes(frame, epoch_ticks(epochs, HALF), plain_ticks(ticks), "epoch", "learning rate")]
    parts += curve(frame, points, "first")
    parts += readings(frame, epochs, HALF, _lr_reading)
    about = f"Peak {text.significant(highest)}, then {text.significant(points[-1][1])} at the end."
    drawn = charts.svg(frame, "lr", "Learning rate by epoch", about, parts, HALF.name)
    return Figure(title="Learning rate", svgs=[drawn], legend=[("first", "at the epoch's end")], note=about)


def resolution(epochs: list[EpochLine]) -> Figure | None:
    """Training resolution as steps, validation's as a dashed line."""
    known = [(epoch, epoch.resolution) for epoch in epochs if epoch.resolution]
    if not known:
        return None
    val = distinct(epoch.val_resolution for epoch, _ in known)
    sides = sorted({*(side for _, side in known), *val})
    nice = charts.nice_ticks(0.9 * sides[0], 1.02 * sides[-1], 4)
    frame = epoch_frame(epochs, HALF, (nice[0], nice[-1]))
    # The resolutions themselves make the best ticks as long as their names have room.
    apart = all(frame.y(low) - frame.y(high) >= 16 for low, high in pairwise(sides))
    ticks = plain_ticks(sides if apart and len(sides) > 1 else nice)
    parts = [*charts.axes(frame, epoch_ticks(epochs, HALF), ticks, "epoch", "pixels per side")]
    steps: list[Point] = [(epoch.epoch + shift, side) for epoch, side in known for shift in (-0.5, 0.5)]
    parts += [charts.rule(frame, "first dashed", y=side) for side in val]
    parts.append(charts.line(frame, steps, "second"))
    shown = [epoch for epoch, _ in known]
    parts += readings(frame, shown, HALF, lambda epoch: f"epoch {epoch.epoch}: {epoch.resolution} px")
    tested = " and ".join(f"{side} px" for side in val)
    about = f"Training goes from {known[0][1]} px to {known[-1][1]} px"
    about += f"; validation is at {tested}." if val else "."
    drawn = charts.svg(frame, "resolution", "Resolution by epoch", about, parts, HALF.name)
    legend = [("second", "training")] + ([("first dashed", "validation")] if val else [])
    return Figure(title="Resolution", svgs=[drawn], legend=legend, note=about)


def _loss_reading(epoch: EpochLine) -> str:
    words = f"epoch {epoch.epoch}: training {text.number(epoch.train_loss)}"
    return words + (f", validation {text.number(epoch.val_loss)}" if epoch.val_loss is not None else "")


def _lr_reading(epoch: EpochLine) -> str:
    peak = f", at most {text.significant(epoch.lr_peak)}" if epoch.lr_peak is not None else ""
    return f"epoch {epoch.epoch}: {text.significant(epoch.lr)} at its end{peak}"
