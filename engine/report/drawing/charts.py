"""Chart parts as SVG text: scales, axes, lines, bars, reading aids. Colours are CSS classes of the page.

A chart is drawn in its own units and scaled by its viewBox. Values at a point are read through the <title>
that browsers show on hovering, so nothing here needs a script.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
Tick = tuple[float, str]

# Characters that no XML document may hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The drawing area: its size, the margins around the plot, and the values at the plot's edges."""

    width: int
    height: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    left: int = 46
    right: int = 14
    top: int = 26
    bottom: int = 42

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return self.floor - share * (self.floor - self.top)

    @property
    def floor(self) -> int:
        """Vertical place of the plot's lower edge."""
        return self.height - self.bottom

    @property
    def edge(self) -> int:
        """Horizontal place of the plot's right edge."""
        return self.width - self.right


def clean(value: object) -> str:
    """Text of anybody's making, safe inside an element or a quoted attribute of HTML and SVG."""
    return escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True)


def nice_ticks(
    low: float, high: float, about: int, factors: Sequence[float] = (1, 2, 2.5, 5, 10)
) -> list[float]:
    """Round values, some `about` of them, from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in factors if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def whole_ticks(low: int, high: int, most: int) -> list[int]:
    """Whole numbers from `low` to `high`, at most `most` or so, both ends among them, none too close."""
    if high - low < most:
        return list(range(low, high + 1))
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(round(factor * power) for factor in (1, 2, 5, 10) if factor * power >= max(1, raw))
    inner = [value for value in range(0, high, step) if value > low and high - value >= 0.6 * step]
    return [low, *(value for value in inner if value - low >= 0.5 * step), high]


def svg(frame: Frame, key: str, title: str, description: str, parts: Iterable[str], css: str = "") -> str:
    """A whole chart. `key` is unique on the page; title and description are for those who can't see it."""
    return (
        f'<svg class="chart {css}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{clean(title)}</title><desc id="{key}-d">{clean(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def axes(
    frame: Frame, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_name: str, y_name: str
) -> Iterable[str]:
    """Grid lines, tick labels, and what the axes measure in which unit."""
    for value, name in y_ticks:
        y = frame.y(value)
        yield f'<line class="grid" x1="{frame.left}" x2="{frame.edge}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield label(frame.left - 7, y + 4, name, "tick end")
    for value, name in x_ticks:
        yield label(frame.x(value), frame.floor + 18, name, "tick middle")
    yield f'<line class="axis" x1="{frame.left}" x2="{frame.edge}" y1="{frame.floor}" y2="{frame.floor}"/>'
    yield label(frame.edge, frame.height - 6, x_name, "unit end")
    yield label(2, 13, y_name, "unit")


def label(x: float, y: float, text: str, css: str) -> str:
    """A piece of text; `css` also says how it is anchored."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{clean(text)}</text>'


def line(frame: Frame, points: Sequence[Point], css: str) -> str:
    """A line through the points."""
    path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
    return f'<path class="line {css}" d="M{path}"/>' if points else ""


def dots(frame: Frame, points: Sequence[Point], css: str, radius: float = 3) -> str:
    """A marker at each point, as one path."""
    circle = f"a{radius} {radius} 0 1 0 {2 * radius} 0a{radius} {radius} 0 1 0 {-2 * radius} 0"
    path = "".join(f"M{frame.x(x) - radius:.1f} {frame.y(y):.1f}{circle}" for x, y in points)
    return f'<path class="dots {css}" d="{path}"/>' if points else ""


def diamond(frame: Frame, point: Point, css: str, title: str) -> str:
    """A single marker of another shape."""
    x, y = frame.x(point[0]), frame.y(point[1])
    path = f"M{x:.1f} {y - 6:.1f}l6 6-6 6-6-6z"
    return f'<path class="diamond {css}" d="{path}"><title>{clean(title)}</title></path>'


def rule(frame: Frame, css: str, *, x: float | None = None, y: float | None = None) -> str:
    """A line across the plot at one value: upright for x, level for y."""
    x1, x2 = (frame.left, frame.edge) if x is None else (frame.x(x), frame.x(x))
    y1, y2 = (frame.top, frame.floor) if y is None else (frame.y(y), frame.y(y))
    return f'<line class="rule {css}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def area(frame: Frame, css: str, low: Point, high: Point) -> str:
    """A filled rectangle between two corners."""
    x, y = frame.x(low[0]), frame.y(high[1])
    width, height = frame.x(high[0]) - x, frame.y(low[1]) - y
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0, height):.1f}"/>'


def readings(frame: Frame, columns: Sequence[tuple[float, str]]) -> Iterable[str]:
    """Invisible columns around the given x values, each with the text to show while the pointer is on it."""
    places = [frame.x(value) for value, _ in columns]
    for index, (_, text) in enumerate(columns):
        here = places[index]
        left = (places[index - 1] + here) / 2 if index else frame.left
        right = (here + places[index + 1]) / 2 if index + 1 < len(places) else frame.edge
        height = frame.floor - frame.top
        yield (
            f'<g class="read"><title>{clean(text)}</title>'
            f'<rect x="{left:.1f}" y="{frame.top}" width="{max(0, right - left):.1f}" height="{height}"/>'
            f'<path d="M{here:.1f} {frame.top}V{frame.floor}"/></g>'
        )


def stacked_bar(
    frame: Frame, left: float, right: float, pieces: Sequence[tuple[float, str]], text: str
) -> str:
    """One bar from the axis up; each piece has a height and a CSS class, the first one lowest."""
    bottom, rects = 0.0, ""
    for height, css in pieces:
        if height > 0:
            rects += area(frame, css, (left, bottom), (right, bottom + height))
            bottom += height
    return f'<g class="bar"><title>{clean(text)}</title>{rects}</g>'
