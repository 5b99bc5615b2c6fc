"""The picture of a plan: predicted accuracy against predicted time by family, the pick and its intervals, as one SVG.

Families of our own measured runs have solid lines, published ones dashed; a family of one length is a marker.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.charts import Frame

LEAST = 0.05
"""Minutes: the left end of the logarithmic axis, for times that are shorter."""

_WIDTH, _HEIGHT, _ROW = 860, 470, 20
# Light and dark; distinguishable also by people who see no red or green (Okabe and Ito's, darkened or lightened).
_COLOURS = (
    ("#0550ae", "#79c0ff"),
    ("#b35900", "#ffa657"),
    ("#0a7a5c", "#56d4a8"),
    ("#a0397e", "#f29bd0"),
    ("#6b5d00", "#e3d26f"),
    ("#5b4b9a", "#b7a8ff"),
    ("#0f7ea8", "#7ad7f0"),
    ("#8a2f2f", "#ff9b9b"),
)

# It stands alone, so it brings its own colours, for either ground.
_STYLE = """
svg{font-family:system-ui,sans-serif;background:#fff;--ink:#1f2328;--soft:#59636e;--grid:#d1d9e0;--goal:#116329;LIGHT}
@media(prefers-color-scheme:dark){svg{background:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#3d444d;--goal:#7ee787;DARK}}
text{fill:var(--soft);font-size:13px}.name{fill:var(--ink);font-size:16px;font-weight:600}.end{text-anchor:end}
.middle{text-anchor:middle}.grid,.axis{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft)}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.published{stroke-dasharray:6 4}.band{opacity:.13}
.rule{stroke:var(--goal);stroke-width:1.4;stroke-dasharray:2 4}text.goal{fill:var(--goal);font-weight:600}
.whisker{stroke:var(--ink);stroke-width:1.6;fill:none}.pick{fill:var(--ink)}text.pick{font-weight:600}
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A predicted run: minutes and top-1 (a share), each with its 90% interval."""

    minutes: float
    minutes_low: float
    minutes_high: float
    top1: float
    top1_low: float
    top1_high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A family's runs, the shortest first; `measured`: by us, else published."""

    name: str
    measured: bool
    places: Sequence[Place]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What was asked for: top-1 (a share) and minutes, None where it was not; and the pick with its name."""

    target: float | None = None
    minutes: float | None = None
    pick: Place | None = None
    name: str = ""


def draw(title: str, note: str, lines: Sequence[Line], goal: Goal) -> str:
    """The whole picture; `lines` hold at least one place, `note` stands below the title."""
    rows = _legend_rows(lines)
    frame = _frame(lines, goal, top=58 + _ROW * len(rows))
    ticks = [
        value
        for value in charts.nice_ticks(frame.y_low, frame.y_high, 6)
        if frame.y_low <= value <= frame.y_high
    ]
    parts = [charts.label(14, 24, title, "name"), charts.label(14, 43, note, "unit")]
    parts += _legend(rows)
    parts += charts.axes(
        frame,
        _time_ticks(frame),
        [(value, text.percent(value, 0 if ticks[1] - ticks[0] >= 0.0099 else 1)) for value in ticks],
        "time (logarithmic)",
        "",
    )
    parts.append(charts.label(14, frame.top - 8, "top-1", "unit"))
    parts += goal_rules(frame, goal)
    for number, line in enumerate(lines):
        parts += line_parts(frame, line, number)
    if goal.pick:
        parts += _pick(frame, goal.pick, goal.name)
    return _svg(title, f"{len(lines)} families of runs. {note}", parts, len(lines))


def _frame(lines: Sequence[Line], goal: Goal, top: int) -> Frame:
    places = [place for line in lines for place in line.places]
    lows, highs = [place.minutes for place in places], [place.minutes for place in places]
    if goal.minutes:
        lows, highs = [*lows, goal.minutes], [*highs, goal.minutes]
    if goal.pick:
        lows, highs = [*lows, goal.pick.minutes_low], [*highs, goal.pick.minutes_high]
    shares = [place.top1_low for place in places] + [place.top1_high for place in places]
    if goal.target is not None and min(shares) - 0.05 <= goal.target <= max(shares) + 0.05:
        shares.append(goal.target)
    ticks = charts.nice_ticks(min(shares), min(1.0, max(shares)), 6)
    left, right = math.log10(max(LEAST, min(lows))), math.log10(max(highs))
    room = 0.04 * max(right - left, 0.3)
    return Frame(
        width=_WIDTH,
        height=_HEIGHT + top - 78,
        x_low=left - room,
        x_high=right + 2 * room,
        y_low=ticks[0],
        y_high=min(1.0, ticks[-1]),
        left=62,
        right=24,
        top=top + 14,
    )


def _time_ticks(frame: Frame) -> list[charts.Tick]:
    """Times that people name: minutes below two hours, hours above, days beyond four of them."""
    named = [(minutes, f"{minutes:g} min") for minutes in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)]
    named += [(hours * 60, f"{hours:g} h") for hours in (1, 2, 4, 8, 16, 48, 96)]
    named += [(days * 1440, f"{days:g} days") for days in (8, 16, 32, 64, 128, 365, 1000)]
    inside = [
        (math.log10(minutes), name)
        for minutes, name in named
        if frame.x_low <= math.log10(minutes) <= frame.x_high
    ]
    # Labels need about 60 units each.
    kept: list[charts.Tick] = []
    for place, name in inside:
        if not kept or frame.x(place) - frame.x(kept[-1][0]) >= 60:
            kept.append((place, name))
    return kept


def _legend_rows(lines: Sequence[Line]) -> list[list[tuple[int, Line]]]:
    """Three families a row."""
    numbered = list(enumerate(lines))
    return [numbered[start : start + 3] for start in range(0, len(numbered), 3)]


def _legend(rows: Sequence[Sequence[tuple[int, Line]]]) -> Iterable[str]:
    for row, entries in enumerate(rows):
        for column, (number, line) in enumerate(entries):
            x, y = 14 + 280 * column, 66 + _ROW * row
            kind = "measured here" if line.measured else "published"
            css = "line" if line.measured else "line published"
            if len(line.places) == 1:
                yield _marker(x + 15, y - 4, line, number)
            else:
                yield f'<path class="{css}" style="stroke:var({_colour(number)})" d="M{x} {y - 4}h30"/>'
            yield charts.label(x + 38, y, f"{line.name} ({kind})", "unit")


def line_parts(frame: Frame, line: Line, number: int) -> Iterable[str]:
    """A family's curve with its band, or its marker; `number` chooses the colour --c0, --c1, ..."""
    colour, css = _colour(number), "line" if line.measured else "line published"
    if len(line.places) == 1:
        place = line.places[0]
        x, y = at(frame, place)
        low, high = frame.y(place.top1_low), frame.y(place.top1_high)
        shape = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
        yield f'<path class="line" style="stroke:var({colour});stroke-width:1.4" d="{shape}"/>'
        yield _marker(x, y, line, number)
        return
    lower = [(frame.x(math.log10(place.minutes)), frame.y(place.top1_low)) for place in line.places]
    upper = [(frame.x(math.log10(place.minutes)), frame.y(place.top1_high)) for place in line.places]
    edge = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*lower, *reversed(upper)])
    middle = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(frame, place) for place in line.places))
    yield f'<path class="band" style="fill:var({colour})" d="M{edge}z"/>'
    name = charts.clean(line.name)
    yield f'<path class="{css}" style="stroke:var({colour})" d="M{middle}"><title>{name}</title></path>'


def _marker(x: float, y: float, line: Line, number: int) -> str:
    """Of a family of one length: filled if measured, a ring if published."""
    fill, stroke = (f"var({_colour(number)})" if line.measured else "none"), f"var({_colour(number)})"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" style="fill:{fill};stroke:{stroke};stroke-width:2">'
        f"<title>{charts.clean(line.name)}</title></circle>"
    )


def goal_rules(frame: Frame, goal: Goal, *, target_left: bool = False) -> Iterable[str]:
    """A level line at the target and an upright one at the limit; the target's name at its right or left end."""
    level = None
    if goal.target is not None and frame.y_low <= goal.target <= frame.y_high:
        y = level = frame.y(goal.target)
        yield f'<line class="rule" x1="{frame.left}" x2="{frame.edge}" y1="{y:.1f}" y2="{y:.1f}"/>'
        words_x, css = (frame.left + 6, "goal") if target_left else (frame.edge, "goal end")
        yield charts.label(words_x, y - 6, f"target {text.percent(goal.target, 1)}", css)
    if goal.minutes:
        x = frame.x(math.log10(goal.minutes))
        yield f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{frame.floor}"/>'
        beside = x > frame.edge - 120
        words = f"limit {text.duration(goal.minutes * 60)}"
        # At the floor, unless the target's name is there.
        foot = frame.floor - 8 if level is None or level < frame.floor - 26 else frame.top + 14
        yield charts.label(x - 6 if beside else x + 6, foot, words, f"goal{' end' if beside else ''}")


def whiskers(frame: Frame, place: Place) -> str:
    """The intervals of a run: level for its time, upright for its accuracy, neither where there is none."""
    x, y = at(frame, place)
    left, right = (
        frame.x(math.log10(max(LEAST, minutes))) for minutes in (place.minutes_low, place.minutes_high)
    )
    low, high = frame.y(place.top1_low), frame.y(place.top1_high)
    across = f"M{left:.1f} {y:.1f}H{right:.1f}M{left:.1f} {y - 4:.1f}v8M{right:.1f} {y - 4:.1f}v8"
    upright = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
    shape = (across if left < right else "") + (upright if high < low else "")
    return f'<path class="whisker" d="{shape}"/>' if shape else ""


def _pick(frame: Frame, place: Place, name: str) -> Iterable[str]:
    x, y = at(frame, place)
    high = frame.y(place.top1_high)
    yield whiskers(frame, place)
    yield f'<path class="pick" d="M{x:.1f} {y - 7:.1f}l7 7-7 7-7-7z"/>'
    # Above and to the left there are no lines: shorter runs are less accurate.
    fits_left = x - 12 - 8 * len(name) > frame.left
    words_x, css = (x - 10, "pick end") if fits_left else (frame.left + 8, "pick")
    yield charts.label(words_x, max(high, frame.top + 8) - 8, name, css)


def at(frame: Frame, place: Place) -> tuple[float, float]:
    """Where a run is drawn: x and y."""
    return frame.x(math.log10(max(LEAST, place.minutes))), frame.y(place.top1)


def _colour(number: int) -> str:
    return f"--c{number % len(_COLOURS)}"


def _svg(title: str, about: str, parts: Iterable[str], count: int) -> str:
    used = list(enumerate(_COLOURS))[: min(count, len(_COLOURS))]
    style = _STYLE.replace("LIGHT", ";".join(f"--c{number}:{light}" for number, (light, _) in used))
    style = style.replace("DARK", ";".join(f"--c{number}:{dark}" for number, (_, dark) in used))
    body = "".join(parts)
    height = _HEIGHT - 20 + _ROW * -(-count // 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img"><title>{charts.clean(title)}</title><desc>{charts.clean(about)}</desc>'
        f"<style>{style}</style>{body}</svg>\n"
    )
