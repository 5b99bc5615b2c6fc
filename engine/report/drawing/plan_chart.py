"""A run beside the predictions of its family, for the report: the plan's picture (frontier.py) in the page's colours.

A diamond with whiskers is the run as planned, rings are re-plans, a star is what was reached.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.report import text
from engine.report.drawing import charts, frontier
from engine.report.drawing.axes import Size
from engine.report.drawing.charts import Frame, Tick, clean
from engine.report.drawing.frontier import Goal, Line, Place

PLANNED, REPLANNED, REACHED = "planned point", "replanned point", "reached point"
"""What each kind of mark is called by the style sheet and in a legend."""
STAR = "".join(
    f"{'M' if corner == 0 else 'L'}{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}"
    for corner in range(10)
    for radius, angle in [(4.0 if corner % 2 else 9.0, corner * math.pi / 5)]
)
"""The outline of the star around (0, 0), without its end."""

_FAR = 3.0
"""A time limit that is further off than by this factor is not drawn: it would push the run into a corner."""
_NEAR_TARGET = 0.05
_TICK_ROOM = 44


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A run in the chart, and what is read when the pointer is on it."""

    place: Place
    words: str


@dataclass(frozen=True, kw_only=True)
class PlanChart:
    """What the chart shows. With `by_epochs` each place's minutes are epochs, and there is no limit."""

    line: Line
    readings: Sequence[tuple[float, str]]
    """(minutes, words) along the line."""
    by_epochs: bool
    planned: Mark | None = None
    replanned: Sequence[Mark] = field(default_factory=list)
    reached: Mark | None = None
    target: float | None = None
    limit: float | None = None
    """In minutes."""

    @property
    def marks(self) -> list[Mark]:
        """Every run, in order of time."""
        return [mark for mark in (self.planned, *self.replanned, self.reached) if mark]


def draw_plan(chart: PlanChart, size: Size) -> str:
    """The chart in one size of the page; it has at least two places on its line."""
    frame = _frame(chart, size)
    values = charts.nice_ticks(frame.y_low, frame.y_high, 6)
    digits = 0 if values[1] - values[0] >= 0.0099 else 1
    y_ticks = [(value, text.percent(value, digits)) for value in values if value <= frame.y_high + 1e-9]
    unit, x_ticks = _across(frame, chart.by_epochs)
    parts = list(charts.axes(frame, x_ticks, y_ticks, f"{unit} (logarithmic)", "top-1 accuracy"))
    limit = chart.limit if chart.limit and frame.x_low <= math.log10(chart.limit) <= frame.x_high else None
    rules = Goal(target=chart.target, minutes=limit)
    parts += frontier.goal_rules(frame, rules, target_left=_above_the_left(chart, frame))
    parts += frontier.line_parts(frame, chart.line, 0)
    parts += charts.readings(frame, [(math.log10(value), words) for value, words in chart.readings])
    parts += _path(frame, chart.marks)
    for mark in chart.replanned:
        parts += _ring(frame, mark)
    if chart.planned:
        parts += _diamond(frame, chart.planned)
    if chart.reached:
        parts.append(_star(frame, chart.reached))
    about = "; ".join(mark.words for mark in chart.marks) or f"{chart.line.name} as predicted"
    return charts.svg(frame, f"plan-{size.name}", "Plan and result", about, parts, f"{size.name} frontier")


def _above_the_left(chart: PlanChart, frame: Frame) -> bool:
    """Whether the target's name has room at its left end: longer runs are more accurate, so there it often has."""
    left = frame.left + (frame.edge - frame.left) / 3
    marked = [mark.place for mark in chart.marks if frontier.at(frame, mark.place)[0] < left]
    highest = max(place.top1_high for place in (chart.line.places[0], *marked))
    return chart.target is not None and chart.target >= highest


def _frame(chart: PlanChart, size: Size) -> Frame:
    places = [*chart.line.places, *(mark.place for mark in chart.marks)]
    low = min(place.minutes_low for place in places)
    high = max(place.minutes_high for place in places)
    if chart.limit and low / _FAR <= chart.limit <= high * _FAR:
        low, high = min(low, chart.limit), max(high, chart.limit)
    shares = [share for place in places for share in (place.top1_low, place.top1_high)]
    if chart.target and min(shares) - _NEAR_TARGET <= chart.target <= max(shares) + _NEAR_TARGET:
        shares.append(chart.target)
    y_ticks = charts.nice_ticks(min(shares), max(shares), 6)
    left, right = (math.log10(max(frontier.LEAST, end)) for end in (low, high))
    room = 0.03 * max(right - left, 0.1)
    return Frame(
        width=size.width,
        height=size.height + 40,
        x_low=left - room,
        x_high=right + room,
        y_low=y_ticks[0],
        y_high=min(1.0, y_ticks[-1]),
        left=52,
    )


def _across(frame: Frame, by_epochs: bool) -> tuple[str, list[Tick]]:
    """What the axis across measures, and round values on it whose names do not touch."""
    low, high = 10**frame.x_low, 10**frame.x_high
    unit, length = "length of the run, epochs", 1.0
    if not by_epochs:
        name, length = next(
            (unit for unit in (("hours", 60.0), ("minutes", 1.0)) if high >= 2 * unit[1]), ("seconds", 1 / 60)
        )
        unit = f"time of the run, {name}"
    kept: list[Tick] = []
    for value in charts.nice_ticks(low / length, high / length, 16, (1, 2, 5, 10)):
        if value > 0 and low <= value * length <= high:
            place = math.log10(value * length)
            if not kept or frame.x(place) - frame.x(kept[-1][0]) >= _TICK_ROOM:
                kept.append((place, f"{value:g}"))
    return unit, kept


def _path(frame: Frame, marks: Sequence[Mark]) -> Iterable[str]:
    """From the plan by the re-plans to the result."""
    if len(marks) > 1:
        corners = "L".join("{:.1f} {:.1f}".format(*frontier.at(frame, mark.place)) for mark in marks)
        yield f'<path class="way" d="M{corners}"/>'


def _diamond(frame: Frame, mark: Mark) -> Iterable[str]:
    x, y = frontier.at(frame, mark.place)
    yield frontier.whiskers(frame, mark.place)
    path = f"M{x:.1f} {y - 7:.1f}l7 7-7 7-7-7z"
    yield f'<path class="{PLANNED}" d="{path}"><title>{clean(mark.words)}</title></path>'


def _ring(frame: Frame, mark: Mark) -> Iterable[str]:
    x, y = frontier.at(frame, mark.place)
    yield frontier.whiskers(frame, mark.place)
    yield (
        f'<circle class="{REPLANNED}" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{clean(mark.words)}</title></circle>'
    )


def _star(frame: Frame, mark: Mark) -> str:
    x, y = frontier.at(frame, mark.place)
    return (
        f'<path class="{REACHED}" transform="translate({x:.1f} {y:.1f})" d="{STAR}z">'
        f"<title>{clean(mark.words)}</title></path>"
    )
