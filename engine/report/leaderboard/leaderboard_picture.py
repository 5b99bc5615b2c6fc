"""The pictures of the leaderboard: accuracy against time, and against cost where prices are known.

Measured runs are filled dots, published points open diamonds joined by a dotted line where one recipe was trained for
several lengths. Both axes across are logarithmic: published runs take from minutes to days.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.report import text
from engine.report.contract_words import epochs_words
from engine.report.drawing import charts
from engine.report.drawing.axes import Size
from engine.report.drawing.charts import Frame, Tick
from engine.report.leaderboard.leaderboard_entries import Entry
from engine.report.leaderboard.leaderboard_table import top1_words

WIDE = Size(name="wide", width=1000, height=460, bars=0, readings=0, ticks=14)
PHONE = Size(name="phone", width=400, height=380, bars=0, readings=0, ticks=6)
_MANY, _LOW = 8, 300
"""Fewer points than this are drawn in a lower chart."""

LEGEND = (("measured point", "measured by this project"), ("published point", "published by others"))

_SECONDS = (
    *((value, f"{value} s") for value in (1, 2, 5, 10, 20, 30)),
    *((60 * value, f"{value} min") for value in (1, 2, 5, 10, 20, 30)),
    *((3600 * value, f"{value} h") for value in (1, 2, 5, 10)),
    *((86400 * value, f"{value} d") for value in (1, 2, 5, 10, 20, 50)),
)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What accuracy is drawn against."""

    key: str
    title: str
    unit: str
    value: Callable[[Entry], float | None]
    words: Callable[[float], str]
    ticks: Callable[[float, float], list[Tick]]


def _time_ticks(low: float, high: float) -> list[Tick]:
    return [(value, name) for value, name in _SECONDS if low <= value <= high]


def _cost_ticks(low: float, high: float) -> list[Tick]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [(value, f"{value:,g}") for value in values if low <= value <= high]


TIME = Axis(
    key="time",
    title="Accuracy against time",
    unit="wall time of the whole run",
    value=lambda entry: entry.seconds,
    words=text.duration,
    ticks=_time_ticks,
)
COST = Axis(
    key="cost",
    title="Accuracy against cost",
    unit="cost of the run, as priced",
    value=lambda entry: entry.cost,
    words=lambda cost: f"{cost:.2f}",
    ticks=_cost_ticks,
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A drawn chart, without the element around it."""

    frame: Frame
    title: str
    about: str
    parts: list[str]


def panels(entries: Sequence[Entry], size: Size) -> list[tuple[str, Axis, Panel]]:
    """(data set, axis, chart) for each chart that has a point; one data set after the other."""
    found = []
    for data in sorted({entry.data for entry in entries}):
        for axis in (TIME, COST):
            drawn = _panel([one for one in entries if one.data == data], data, axis, size)
            if drawn is not None:
                found.append((data, axis, drawn))
    return found


def _panel(entries: Sequence[Entry], data: str, axis: Axis, size: Size) -> Panel | None:
    points = [(axis.value(entry), entry) for entry in entries]
    placed = [(value, entry) for value, entry in points if value]
    if not placed:
        return None
    frame = _frame(placed, size)
    low, high = 10**frame.x_low, 10**frame.x_high
    x_ticks = _apart(frame, [(math.log10(value), name) for value, name in axis.ticks(low, high)], size)
    y_ticks = [
        tick
        for tick in charts.nice_ticks(frame.y_low, frame.y_high, 6)
        if frame.y_low <= tick <= frame.y_high
    ]
    digits = 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in y_ticks) else 1
    named = [(tick, text.percent(tick, digits)) for tick in y_ticks]
    parts = [*charts.axes(frame, x_ticks, named, axis.unit, "top-1 accuracy")]
    # Ours last, so that nothing covers them.
    parts += _published(frame, [(value, entry) for value, entry in placed if entry.published], axis)
    parts += _measured(frame, [(value, entry) for value, entry in placed if not entry.published], axis)
    parts += _names(frame, placed, size)
    ours = sum(not entry.published for _, entry in placed)
    about = f"{data}: {ours} measured and {len(placed) - ours} published points."
    return Panel(frame=frame, title=f"{axis.title}, {data}", about=about, parts=parts)


def _frame(placed: Sequence[tuple[float, Entry]], size: Size) -> Frame:
    values = [math.log10(value) for value, _ in placed]
    shares = [e.top1 + sign * _spread(e) for _, e in placed for sign in (-1, 1)]
    # Room for the points' names: at least a factor of 1.5 to the left, more to the right.
    left, right = min(values) - 0.12, max(values) + 0.35
    spread = max(max(shares) - min(shares), 0.01)
    return Frame(
        width=size.width,
        height=size.height if len(placed) >= _MANY else _LOW,
        left=58,
        x_low=left,
        x_high=right,
        y_low=max(0.0, min(shares) - 0.08 * spread),
        y_high=min(1.0, max(shares) + 0.1 * spread),
    )


def _apart(frame: Frame, ticks: Sequence[Tick], size: Size) -> list[Tick]:
    """Ticks whose names do not touch: each that has room after the one before."""
    kept: list[Tick] = []
    room = (frame.edge - frame.left) / size.ticks
    for value, name in ticks:
        if frame.x(value) > frame.edge - 10:
            break
        if not kept or frame.x(value) - frame.x(kept[-1][0]) >= room:
            kept.append((value, name))
    return kept


def _published(frame: Frame, placed: Sequence[tuple[float, Entry]], axis: Axis) -> list[str]:
    parts = _lengths_joined(frame, placed, "published")
    for value, entry in placed:
        words = _reading(value, entry, axis)
        parts.append(charts.diamond(frame, (math.log10(value), entry.top1), "published", words))
    return parts


def _measured(frame: Frame, placed: Sequence[tuple[float, Entry]], axis: Axis) -> list[str]:
    parts = _lengths_joined(frame, placed, "measured faint")
    for value, entry in placed:
        x, y, spread = math.log10(value), entry.top1, _spread(entry)
        bar = charts.line(frame, [(x, y - spread), (x, y + spread)], "measured") if spread else ""
        dot = charts.dots(frame, [(x, y)], "measured", 5)
        words = charts.clean(_reading(value, entry, axis))
        parts.append(f"<g><title>{words}</title>{bar}{dot}</g>")
    return parts


def _lengths_joined(frame: Frame, placed: Sequence[tuple[float, Entry]], css: str) -> list[str]:
    """A line through the lengths of a recipe on one machine."""
    series: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for value, entry in placed:
        key = (entry.name, entry.network, entry.machine)
        series.setdefault(key, []).append((math.log10(value), entry.top1))
    return [charts.line(frame, sorted(points), css) for points in series.values() if len(points) > 1]


def _spread(entry: Entry) -> float:
    """Half of the bar of a measured entry: one standard deviation. Those of published points would hide others."""
    return 0.0 if entry.published else entry.top1_sd or 0.0


def _reading(value: float, entry: Entry, axis: Axis) -> str:
    whose = "published" if entry.published else "measured"
    runs = f", {entry.runs} runs" if entry.runs > 1 else ""
    where = f" on {entry.machine}" if entry.machine != text.MISSING else ""
    return f"{entry.name}{where}: {top1_words(entry)} after {axis.words(value)} ({whose}{runs})"


_Box = tuple[float, float, float, float]
_BOLD = 1.25
"""Width of bold letters as a multiple of plain ones'."""


def _names(frame: Frame, placed: Sequence[tuple[float, Entry]], size: Size) -> list[str]:
    """Names of the points where they have room: ours first, each once, beside the most accurate point that has room."""
    letter, high = (7.0, 15) if size.name == "phone" else (6.4, 14)
    taken: list[_Box] = []
    for value, entry in placed:
        x, y = frame.x(math.log10(value)), frame.y(entry.top1)
        taken.append((x - 6, y - 6, x + 6, y + 6))
    points: dict[tuple[bool, str], list[tuple[float, float]]] = {}
    ours = [entry.name for _, entry in placed if not entry.published]
    for value, entry in sorted(placed, key=lambda one: (one[1].published, -one[1].top1)):
        place = frame.x(math.log10(value)), frame.y(entry.top1)
        several = ours.count(entry.name) > 1 and not entry.published and entry.epochs is not None
        name = f"{entry.name}, {epochs_words(entry.epochs)}" if several else entry.name
        points.setdefault((entry.published, name), []).append(place)
    parts = []
    for (published, name), places in points.items():
        # Ours are bold, thus wider.
        width = letter * len(name) * (1.0 if published else _BOLD)
        for box, anchor, at in _rooms(places, width, high):
            if _inside(frame, box) and not any(_touch(box, other) for other in taken):
                taken.append(box)
                css = "name-published" if published else "name-measured"
                parts.append(charts.label(at, box[3] - 3, name, f"{css}{anchor}"))
                break
    return parts


def _rooms(
    places: Sequence[tuple[float, float]], width: float, high: float
) -> Iterator[tuple[_Box, str, float]]:
    """Where a name may stand beside one of its points: its box, how it is anchored, and at which x."""
    for x, y in places:
        for anchor, at, left, base in (
            ("", x + 10, x + 10, y + 4),
            (" end", x - 10, x - 10 - width, y + 4),
            (" middle", x, x - width / 2, y - 10),
            (" middle", x, x - width / 2, y + 19),
            ("", x + 7, x + 7, y - 7),
            ("", x + 7, x + 7, y + 16),
            (" end", x - 7, x - 7 - width, y - 7),
            (" end", x - 7, x - 7 - width, y + 16),
        ):
            yield (left, base - high + 3, left + width, base + 3), anchor, at


def _inside(frame: Frame, box: _Box) -> bool:
    return (
        box[0] >= frame.left and box[2] <= frame.width and box[1] >= frame.top - 8 and box[3] <= frame.floor
    )


def _touch(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# It stands alone, so it brings its own colours, for either ground.
_STYLE = """
svg{font-family:system-ui,sans-serif;background:#fff;--ink:#1f2328;--soft:#59636e;--grid:#d1d9e0;--ours:#0550ae;
--theirs:#953800;--card:#fff}
@media(prefers-color-scheme:dark){svg{background:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#3d444d;--ours:#79c0ff;
--theirs:#ffa657;--card:#0d1117}}
text{fill:var(--soft);font-size:12.5px}.head{fill:var(--ink);font-size:16px;font-weight:600}.end{text-anchor:end}
.middle{text-anchor:middle}.grid,.axis{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft)}
.line{fill:none;stroke-width:1.6}
"""
POINT_STYLE = """
.line.published{stroke:var(--theirs);stroke-width:1.2;stroke-dasharray:2 4}
.line.measured{stroke:var(--ours);stroke-width:2}.line.measured.faint{stroke-width:1.2;opacity:.5}.dots.measured{fill:var(--ours)}
.diamond.published{fill:var(--card);stroke:var(--theirs);stroke-width:1.6}
text.name-measured{fill:var(--ours);font-weight:650}text.name-published{fill:var(--theirs)}
text.name-measured,text.name-published{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
"""
_HEAD, _LEGEND_ROW = 34, 30


def picture(entries: Sequence[Entry]) -> str:
    """The whole picture, as an SVG that needs nothing beside itself: a chart below the other. Entries: at least one
    with a time."""
    drawn = panels(entries, WIDE)
    height = _LEGEND_ROW + sum(_HEAD + panel.frame.height for _, _, panel in drawn)
    y, parts = float(_LEGEND_ROW), [_legend(entries)]
    for _, _, panel in drawn:
        head = charts.label(2, 22, panel.title, "head")
        inner = f'<g transform="translate(0 {_HEAD})">{"".join(panel.parts)}</g>'
        parts.append(f'<g transform="translate(0 {y:g})">{head}{inner}</g>')
        y += _HEAD + panel.frame.height
    title = "Leaderboard: accuracy against time"
    about = " ".join(panel.about for _, _, panel in drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE.width} {height}" width="{WIDE.width}" '
        f'height="{height}" role="img"><title>{charts.clean(title)}</title><desc>{charts.clean(about)}</desc>'
        f"<style>{_STYLE}{POINT_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def legend_of(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """The legend for the kinds of points that there are."""
    published = {entry.published for entry in entries}
    return [key for key, kind in zip(LEGEND, (False, True), strict=True) if kind in published]


def _legend(entries: Sequence[Entry]) -> str:
    # The marks are drawn at the frame's corner, which is moved to where each belongs.
    frame = Frame(width=100, height=100, x_low=0, x_high=1, y_low=0, y_high=1)
    corner_x, corner_y = frame.x(0), frame.y(0)
    marks = {
        "measured point": charts.dots(frame, [(0, 0)], "measured", 5),
        "published point": charts.diamond(frame, (0, 0), "published", LEGEND[1][1]),
    }
    parts = []
    for number, (css, name) in enumerate(legend_of(entries)):
        x = 12 + 240 * number
        moved = f"translate({x - corner_x:g} {18 - corner_y:g})"
        parts.append(f'<g transform="{moved}">{marks[css]}</g>{charts.label(x + 12, 22, name, "")}')
    return "".join(parts)
