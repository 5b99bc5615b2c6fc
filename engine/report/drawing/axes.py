"""What the figures share: their sizes, axes over epochs and over time, and how many epochs make one bar."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.report.drawing import charts
from engine.report.drawing.charts import Frame, Point, Tick
from engine.runs.log_schema import EpochLine

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A drawing area and how many bars, readings and ticks can be told apart in it."""

    name: str
    width: int
    height: int
    bars: int
    readings: int
    ticks: int


# Text is equally large in all of them, so a figure across the page is drawn twice, and the style sheet shows
# the drawing that fits the screen.
WIDE = Size(name="wide", width=1000, height=330, bars=100, readings=80, ticks=16)
PHONE = Size(name="phone", width=400, height=300, bars=40, readings=30, ticks=6)
HALF = Size(name="half", width=460, height=270, bars=60, readings=45, ticks=9)

# With more points than this their markers would run into one another.
MOST_DOTS = 40
# And with more than this, a line has more corners than pixels.
MOST_POINTS = 300


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, in one size or two, with its heading, a legend of (CSS class, text), and a sentence below."""

    title: str
    svgs: list[str]
    legend: list[tuple[str, str]]
    note: str = ""


def in_both_sizes(draw: Callable[[Size], str]) -> list[str]:
    """A figure across the page, for a screen and for a phone."""
    return [draw(WIDE), draw(PHONE)]


def frame_of(size: Size, x: tuple[float, float], y: tuple[float, float]) -> Frame:
    """The drawing area of a size, for values from x[0] to x[1] and y[0] to y[1]."""
    width, height = size.width, size.height
    return Frame(width=width, height=height, x_low=x[0], x_high=x[1], y_low=y[0], y_high=y[1])


def epoch_frame(epochs: Sequence[EpochLine], size: Size, y: tuple[float, float]) -> Frame:
    """The drawing area of a figure by epoch; all of these have the same horizontal axis."""
    return frame_of(size, (epochs[0].epoch - 0.5, epochs[-1].epoch + 0.5), y)


def epoch_ticks(epochs: Sequence[EpochLine], size: Size) -> list[Tick]:
    """Which epochs are named below the axis."""
    numbers = charts.whole_ticks(epochs[0].epoch, epochs[-1].epoch, size.ticks)
    return [(number, str(number)) for number in numbers]


def plain_ticks(values: Iterable[float]) -> list[Tick]:
    """Values named by themselves."""
    return [(value, f"{value:g}") for value in values]


def time_ticks(seconds: float, about: int) -> tuple[str, list[Tick]]:
    """The unit that suits such a time, and ticks from nothing up to at most a step beyond it."""
    unit, length = next(
        (unit for unit in (("hours", 3600), ("minutes", 60)) if seconds >= 2 * unit[1]), ("seconds", 1)
    )
    values = charts.nice_ticks(0, seconds / length, about, (1, 2, 5, 10))
    return unit, [(value * length, f"{value:g}") for value in values]


def points_of(pairs: Iterable[tuple[float | None, float | None]]) -> list[Point]:
    """The (x, y) of which both are known."""
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def thinned(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread, the last one always among them."""
    if len(items) <= most:
        return list(items)
    return [items[round((index + 1) * len(items) / most) - 1] for index in range(most)]


def grouped(epochs: Sequence[EpochLine], most: int) -> list[list[EpochLine]]:
    """Neighbouring epochs in at most `most` groups, each to be one bar."""
    size = -(-len(epochs) // most)
    return [list(epochs[first : first + size]) for first in range(0, len(epochs), size)]


def span(group: Sequence[EpochLine]) -> tuple[float, float]:
    """Left and right end of a group's bar on the epoch axis, with a gap to the next."""
    first, last = group[0].epoch, group[-1].epoch
    gap = 0.14 * (last - first + 1)
    return first - 0.5 + gap, last + 0.5 - gap


def named(group: Sequence[EpochLine]) -> str:
    """What a group of epochs is called."""
    first, last = group[0].epoch, group[-1].epoch
    return f"epoch {first}" if first == last else f"epochs {first}–{last}, mean"


def readings(
    frame: Frame, epochs: Sequence[EpochLine], size: Size, word: Callable[[EpochLine], str]
) -> Iterable[str]:
    """What each epoch measured, to be read by pointing at it."""
    columns: list[tuple[float, str]] = [(epoch.epoch, word(epoch)) for epoch in epochs]
    return charts.readings(frame, thinned(columns, size.readings))


def curve(frame: Frame, points: Sequence[Point], css: str, radius: float = 3) -> list[str]:
    """A line through the points and, where they are few enough, a marker at each."""
    points = thinned(points, MOST_POINTS)
    marks = [charts.dots(frame, points, css, radius)] if len(points) <= MOST_DOTS else []
    return [charts.line(frame, points, css), *marks]


def distinct(values: Iterable[int | None]) -> list[int]:
    """The different values that are known, in order."""
    return sorted({value for value in values if value is not None})
