"""Gains as bars with their intervals, on a logarithmic axis: 2 and 1/2 are equally far from 1."""

import math
from collections.abc import Sequence

from benchmarks.records.outcomes import OUTCOMES, Outcome
from engine.report.drawing import charts
from engine.report.drawing.axes import PHONE, Figure, Size, in_both_sizes
from engine.report.drawing.charts import Frame, clean

_MARGIN = 1.12
# Characters that fit: of a label, and of a reason in place of a bar.
_LABEL = {"wide": 58, "phone": 52}
_REASON = {"wide": 60, "phone": 48}


def gains(key: str, title: str, outcomes: Sequence[Outcome], note: str = "") -> Figure:
    """A bar for each comparison, failed ones included."""
    kinds = [kind for kind in OUTCOMES if any(one.kind == kind for one in outcomes)]
    legend = [(kind, OUTCOMES[kind]) for kind in kinds]
    svgs = in_both_sizes(lambda size: _draw(key, title, outcomes, size))
    return Figure(title=title, svgs=svgs, legend=legend, note=note)


def _draw(key: str, title: str, outcomes: Sequence[Outcome], size: Size) -> str:
    phone = size is PHONE
    row, bar = (44, 12) if phone else (25, 13)
    values = [value for one in outcomes if one.kind != "failed" for value in (one.low, one.high)]
    low, high = min([1.0, *values]) / _MARGIN, max([1.0, *values]) * _MARGIN
    frame = Frame(
        width=size.width,
        height=row * len(outcomes) + 62,
        x_low=math.log10(low),
        x_high=math.log10(high),
        y_low=0,
        y_high=1,
        left=10 if phone else 420,
        right=130 if phone else 150,
        top=20,
    )
    contest = any(one.kind not in ("share", "failed") for one in outcomes)
    name = "times as good as the peer" if contest else "times what it is held against"
    parts = [*_axis(frame, low, high, 3 if phone else 7, name)]
    varying = _varying(outcomes)
    for number, one in enumerate(outcomes):
        top = frame.top + row * number
        label, whole = _cut(one.label(varying), _LABEL[size.name]), one.label()
        place = top + (row - bar - 4 if phone else (row - bar) / 2)
        text_y = top + 14 if phone else place + bar - 2
        inner = charts.label(2 if phone else 4, text_y, label, "tick")
        if one.kind == "failed":
            at = 2.0 if phone else float(frame.left)
            inner += charts.label(at, place + bar - 2, _cut(one.reason, _REASON[size.name]), "tick failed")
        else:
            inner += _bar(frame, one, place, bar)
            end = frame.width - 2
            inner += charts.label(end, place + bar - 2, one.figures, "tick end figures")
        parts.append(f'<g class="bar"><title>{clean(f"{whole}: {one.figures}")}</title>{inner}</g>')
    about = "; ".join(f"{one.label(varying)}: {one.figures}" for one in outcomes)
    return charts.svg(frame, f"{key}-{size.name}", title, about, parts, size.name)


def _bar(frame: Frame, one: Outcome, top: float, height: float) -> str:
    """From 1 to the median, and the interval across its end."""
    low, middle, high, base = (frame.x(math.log10(value)) for value in (one.low, one.median, one.high, 1.0))
    left, width, centre = min(base, middle), max(1.0, abs(middle - base)), top + height / 2
    return (
        f'<rect class="{one.kind}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}"/>'
        f'<path class="whisker" d="M{low:.1f} {centre:.1f}H{high:.1f}M{low:.1f} {top + 2:.1f}v{height - 4}'
        f'M{high:.1f} {top + 2:.1f}v{height - 4}"/>'
    )


def _axis(frame: Frame, low: float, high: float, most: int, name: str) -> list[str]:
    parts = []
    for value in _ticks(low, high, most):
        x = frame.x(math.log10(value))
        css = "one" if value == 1 else "grid"
        parts.append(
            f'<line class="{css}" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top - 4}" y2="{frame.floor}"/>'
        )
        parts.append(charts.label(x, frame.floor + 17, f"{value:g}", "tick middle"))
    parts.append(charts.label(frame.edge, frame.height - 6, name, "unit end"))
    return parts


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round values inside, always with 1, as many as fit."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.2, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [round(factor * 10.0**power, 9) for power in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def _varying(outcomes: Sequence[Outcome]) -> list[str]:
    """The columns in which they differ."""
    names = dict.fromkeys(name for one in outcomes for name in one.what)
    return [name for name in names if len({one.what.get(name) for one in outcomes if one.what}) > 1]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
