"""Compared runs as one page that needs nothing beside itself: accuracy against time, epochs and images, and tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.report import text
from engine.report.compare.compare_rows import Row, measure_rows, option_rows
from engine.report.compare.compared_run import ComparedRun, Measured, unlike
from engine.report.drawing import charts
from engine.report.drawing.axes import (
    MOST_DOTS,
    MOST_POINTS,
    Figure,
    Size,
    frame_of,
    in_both_sizes,
    thinned,
    time_ticks,
)
from engine.report.drawing.charts import Point, Tick, clean
from engine.report.drawing.page import document, figure_card
from engine.report.run.sections import card
from engine.runs.folder import CONFIG, LOG

# Told apart also by readers who see few colours, on either ground; more runs than these repeat them dashed.
_LIGHT = ("#2260d2", "#d2691e", "#14803c", "#a0338f", "#8a6d00", "#00818f", "#b3261e", "#5a6372")
_DARK = ("#77a7ff", "#f2a35e", "#58c97f", "#e58ad4", "#d9b93b", "#4cc9d6", "#ff8a80", "#9aa3b2")
_DASHES = ("none", "6 4", "2 4")

AxisOf = Callable[[float, Size], tuple[str, list[Tick]]]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """What accuracy is drawn against."""

    key: str
    title: str
    value: Callable[[Measured], float]
    words: Callable[[float], str]
    ticks: AxisOf


def render(runs: Sequence[ComparedRun]) -> str:
    """The whole page. The same runs give the same page."""
    title = f"{len(runs)} runs compared" if len(runs) > 1 else runs[0].name
    drawn = [figure_card(_figure(runs, axis)) for axis in _AXES] if any(run.measured for run in runs) else []
    options = option_rows(runs)
    body = [
        f'<header class="card head"><h1>{clean(title)}</h1><p class="soft">{clean(_about(runs))}</p></header>',
        *drawn[:1],
        card("What came out", _table(runs, measure_rows(runs))),
        card(
            "Where the recipes differ",
            _table(runs, options) if options else '<p class="soft">No option differs.</p>',
        ),
        *drawn[1:],
    ]
    return document(title, body, f"Drawn from the {CONFIG} and {LOG} of each run’s folder.", _css(len(runs)))


def _about(runs: Sequence[ComparedRun]) -> str:
    best = max(
        (run for run in runs if run.best), key=lambda run: run.best.judged if run.best else 0, default=None
    )
    if best is None or best.best is None:
        return "Nothing was validated yet."
    if warning := unlike(runs):
        return warning
    of = " (the average of its weights)" if best.has_average else ""
    when = f"after {text.duration(best.best.seconds)}, in epoch {best.best.epoch}"
    return f"The best validation is {text.percent(best.best.judged)} top-1, of {best.name}{of}, {when}."


def _css(runs: int) -> str:
    def colours(shades: Sequence[str]) -> str:
        return "".join(f"--run{index}:{shade};" for index, shade in enumerate(shades))

    rules = [f":root{{{colours(_LIGHT)}}}@media(prefers-color-scheme:dark){{:root{{{colours(_DARK)}}}}}"]
    for index in range(runs):
        colour, dash = f"var(--run{index % len(_LIGHT)})", _DASHES[index // len(_LIGHT) % len(_DASHES)]
        rules.append(
            f".line.r{index}{{stroke:{colour};stroke-dasharray:{dash}}}.dots.r{index}{{fill:{colour}}}"
        )
        rules.append(f"th.r{index}{{border-top:3px solid {colour}}}")
    rules.append(
        ".runs th,.runs td{text-align:left;padding:6px 14px 6px 0;white-space:normal;overflow-wrap:anywhere;"
        "min-width:9em}.runs tbody th{font-weight:500;color:var(--soft);min-width:7em;overflow-wrap:normal}"
        ".runs thead th{color:var(--ink);font-size:.9rem}"
    )
    return "".join(rules)


def _table(runs: Sequence[ComparedRun], rows: Sequence[Row]) -> str:
    heads = "".join(
        f'<th scope="col" class="r{index}">{clean(run.name)}</th>' for index, run in enumerate(runs)
    )
    body = "".join(
        f'<tr><th scope="row">{clean(label)}</th>{"".join(f"<td>{clean(cell)}</td>" for cell in cells)}</tr>'
        for label, cells in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of runs">'
        f'<table class="runs"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _figure(runs: Sequence[ComparedRun], axis: _Axis) -> Figure:
    legend = [(f"run r{index}", _named(run)) for index, run in enumerate(runs)]
    svgs = in_both_sizes(lambda size: _draw(runs, axis, size))
    note = (
        "Each point is one validation, measured as the run's recipe says"
        + (" (of the averaged weights where it says EMA)" if any(run.has_average for run in runs) else "")
        + "."
    )
    return Figure(title=axis.title, svgs=svgs, legend=legend, note=note)


def _named(run: ComparedRun) -> str:
    return f"{run.name}{' (EMA)' if run.has_average else ''}"


def _draw(runs: Sequence[ComparedRun], axis: _Axis, size: Size) -> str:
    lines = [[(axis.value(point), point.judged) for point in run.measured] for run in runs]
    values = [y for line in lines for _, y in line]
    end = max(x for line in lines for x, _ in line)
    x_name, x_ticks = axis.ticks(end, size)
    y_ticks = [tick for tick in charts.nice_ticks(min(values), max(values), 5) if tick <= 1]
    frame = frame_of(size, (0, 1.02 * end), (y_ticks[0], max(y_ticks[-1], max(values))))
    digits = 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in y_ticks) else 1
    named = [(tick, text.percent(tick, digits)) for tick in y_ticks]
    shown = [tick for tick in x_ticks if tick[0] <= 1.02 * end]
    parts = [*charts.axes(frame, shown, named, x_name, "top-1 accuracy")]
    for index, (run, points) in enumerate(zip(runs, lines, strict=True)):
        parts += _curve(
            frame, points, index, [f"{run.name}, {_reading(point, axis)}" for point in run.measured]
        )
    about = "; ".join(f"{run.name}: {_reading(run.measured[-1], axis)}" for run in runs if run.measured)
    return charts.svg(frame, f"{axis.key}-{size.name}", axis.title, about, parts, size.name)


def _curve(frame: charts.Frame, points: Sequence[Point], index: int, words: Sequence[str]) -> list[str]:
    """A run's line and, where they are few enough, its points, each to be read by pointing at it."""
    css = f"run r{index}"
    drawn = [charts.line(frame, thinned(points, MOST_POINTS), css)]
    # A run of one validation is nothing but its point.
    shown = thinned([*zip(points, words, strict=True)], MOST_DOTS)
    for point, said in shown:
        drawn.append(f"<g><title>{clean(said)}</title>{charts.dots(frame, [point], css, 3)}</g>")
    return drawn


def _reading(point: Measured, axis: _Axis) -> str:
    return f"{axis.words(axis.value(point))}: {text.percent(point.judged)}"


def _clock(end: float, size: Size) -> tuple[str, list[Tick]]:
    unit, ticks = time_ticks(end, 12 if size.width > 500 else 4)
    return f"training clock, {unit}", ticks


def _epochs(end: float, size: Size) -> tuple[str, list[Tick]]:
    return "epochs", [(number, str(number)) for number in charts.whole_ticks(0, int(end), size.ticks)]


def _images(end: float, size: Size) -> tuple[str, list[Tick]]:
    unit, length = ("millions of images", 1e6) if end >= 2e6 else ("thousands of images", 1e3)
    ticks = charts.nice_ticks(0, end / length, 10 if size.width > 500 else 4, (1, 2, 5, 10))
    return unit, [(tick * length, f"{tick:,g}") for tick in ticks]


_AXES = (
    _Axis(
        key="time",
        title="Accuracy against time",
        value=lambda point: point.seconds,
        words=text.duration,
        ticks=_clock,
    ),
    _Axis(
        key="epochs",
        title="Accuracy against epochs",
        value=lambda point: float(point.epoch),
        words=lambda epoch: f"epoch {epoch:.0f}",
        ticks=_epochs,
    ),
    _Axis(
        key="images",
        title="Accuracy against images trained on",
        value=lambda point: float(point.images),
        words=lambda images: f"{text.count(images)} images",
        ticks=_images,
    ),
)
