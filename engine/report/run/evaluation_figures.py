"""The pictures of an evaluation: accuracy by class, and whether the network's confidence can be trusted."""

from dataclasses import replace
from itertools import pairwise

from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.axes import HALF, Figure, Size, frame_of, in_both_sizes
from engine.report.drawing.charts import Tick
from engine.report.evaluation_words import calibration_words, ranked
from engine.runs.evaluation_schema import ClassAccuracy, Evaluation, ReliabilityBin

_TENTHS: list[Tick] = [(share / 10, f"{10 * share}%") for share in range(0, 11, 2)]
_LETTER = 7.2


def by_class(found: Evaluation) -> Figure | None:
    """Top-1 of each class, the most accurate first; where they are many, of neighbours together."""
    order = ranked(found)
    if len(order) < 2:
        return None
    lowest, highest = order[-1], order[0]
    note = (
        f"{len(order):,} classes between {text.percent(highest.top1, 1)} ({highest.name}) and "
        f"{text.percent(lowest.top1, 1)} ({lowest.name}); the line is the top-1 of all images."
    )
    svgs = in_both_sizes(lambda size: _draw_classes(order, found.top1, note, size))
    return Figure(title="Accuracy by class", svgs=svgs, legend=[], note=note)


def _draw_classes(order: list[ClassAccuracy], top1: float, about: str, size: Size) -> str:
    count = len(order)
    frame = _frame(size, (0, count), 1)
    cuts = sorted({round(count * bar / min(count, size.bars)) for bar in range(min(count, size.bars) + 1)})
    groups = list(pairwise(cuts))
    longest = max(len(entry.name) for entry in order)
    ticks: list[Tick] = [(number - 0.5, str(number)) for number in charts.whole_ticks(1, count, size.ticks)]
    name = "class, the most accurate first"
    if len(groups) == count and longest * _LETTER < (frame.edge - frame.left) / count:
        ticks = [(index + 0.5, entry.name) for index, entry in enumerate(order)]
    parts = [*charts.axes(frame, ticks, _TENTHS, name, "top-1 accuracy")]
    for first, behind in groups:
        shares = [entry.top1 or 0.0 for entry in order[first:behind]]
        gap = 0.12 * (behind - first)
        height = sum(shares) / len(shares)
        parts.append(
            charts.stacked_bar(
                frame, first + gap, behind - gap, [(height, "compute")], _class_words(order, first, behind)
            )
        )
    parts.append(charts.rule(frame, "first dashed", y=top1))
    return charts.svg(frame, f"classes-{size.name}", "Accuracy by class", about, parts, size.name)


def _class_words(order: list[ClassAccuracy], first: int, behind: int) -> str:
    if behind - first == 1:
        entry = order[first]
        return f"{entry.name}: {text.percent(entry.top1, 1)} of {text.count(entry.images)} images"
    ends = (order[first], order[behind - 1])
    told = " to ".join(f"{entry.name} {text.percent(entry.top1, 1)}" for entry in ends)
    return f"classes {first + 1}–{behind}: {told}"


def calibration(found: Evaluation) -> list[Figure]:
    """The reliability diagram and, beside it, how many images each confidence was given to."""
    bins = [entry for entry in found.calibration.bins if entry.images]
    if not bins or found.calibration.confidence is None:
        return []
    return [_reliability(bins, found), _spread(bins, found)]


def _reliability(bins: list[ReliabilityBin], found: Evaluation) -> Figure:
    frame = _frame(HALF, (0, 1), 1)
    words = f"{calibration_words(found)}."
    parts = [*charts.axes(frame, _TENTHS, _TENTHS, "confidence", "accuracy")]
    parts += [_bar(frame, entry, entry.accuracy or 0.0, "compute", _bin_words(entry)) for entry in bins]
    parts.append(charts.line(frame, [(0, 0), (1, 1)], "second dashed"))
    drawn = charts.svg(frame, "reliability", "Reliability", words, parts, HALF.name)
    legend = [("compute", "accuracy of the images in a bin"), ("second dashed", "perfect calibration")]
    return Figure(title="Reliability", svgs=[drawn], legend=legend, note=words)


def _spread(bins: list[ReliabilityBin], found: Evaluation) -> Figure:
    images = sum(entry.images for entry in bins)
    shares = [entry.images / images for entry in bins]
    ticks = charts.nice_ticks(0, max(shares), 4)
    frame = _frame(HALF, (0, 1), ticks[-1])
    names = [(tick, text.percent(tick, 0 if ticks[1] >= 0.01 else 1)) for tick in ticks]
    parts = [*charts.axes(frame, _TENTHS, names, "confidence", "share of the images")]
    parts += [
        _bar(frame, entry, share, "val", _bin_words(entry)) for entry, share in zip(bins, shares, strict=True)
    ]
    confidence = found.calibration.confidence
    note = f"{text.percent(confidence, 1)} confident on average, {text.percent(found.top1, 1)} right."
    drawn = charts.svg(frame, "confidence", "Confidence", note, parts, HALF.name)
    legend = [("val", f"of {images:,} images")]
    return Figure(title="Confidence", svgs=[drawn], legend=legend, note=note)


def _frame(size: Size, x: tuple[float, float], high: float) -> charts.Frame:
    """Up from 0, with room for half a label beyond the right edge, where the last tick stands."""
    return replace(frame_of(size, x, (0, high)), right=22)


def _bar(frame: charts.Frame, entry: ReliabilityBin, height: float, css: str, words: str) -> str:
    gap = 0.06 * (entry.high - entry.low)
    return charts.stacked_bar(frame, entry.low + gap, entry.high - gap, [(height, css)], words)


def _bin_words(entry: ReliabilityBin) -> str:
    return (
        f"confidence {text.percent(entry.low, 0)}–{text.percent(entry.high, 0)}: "
        f"{text.count(entry.images)} images, {text.percent(entry.confidence, 1)} on average, "
        f"{text.percent(entry.accuracy, 1)} right"
    )
