"""The picture of a learning rate range test: the loss over the rate, and what was read off it, as one SVG."""

import math
from collections.abc import Sequence

from engine.report import text
from engine.report.drawing import charts
from engine.report.drawing.charts import Frame
from engine.train.lr_range import RangePoint, Reading, smoothed

_WIDTH, _HEIGHT = 860, 420

# It stands alone, so it brings its own colours, for either ground.
_STYLE = """
svg{font-family:system-ui,sans-serif;background:#fff;--ink:#1f2328;--soft:#59636e;--grid:#d1d9e0;--raw:#a9b8d6;--mean:#0550ae;
--pick:#116329;--own:#953800}
@media(prefers-color-scheme:dark){svg{background:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#3d444d;--raw:#3c5273;
--mean:#79c0ff;--pick:#7ee787;--own:#ffa657}}
text{fill:var(--soft);font-size:13px}.name{fill:var(--ink);font-size:16px;font-weight:600}.end{text-anchor:end}
.middle{text-anchor:middle}.grid,.axis{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft)}
.line{fill:none;stroke-linejoin:round}.raw{stroke:var(--raw);stroke-width:1.2}.mean{stroke:var(--mean);stroke-width:2.4}
.rule{stroke-width:1.6;stroke-dasharray:5 4}.rule.pick{stroke:var(--pick)}.rule.own{stroke:var(--own)}
.rule.soft{stroke:var(--soft)}text.pick{fill:var(--pick);font-weight:600}text.own{fill:var(--own);font-weight:600}
"""


def draw(
    title: str, points: Sequence[RangePoint], reading: Reading | None, picked: float | None, own_lr: float
) -> str:
    """The whole picture; `picked` is what is suggested, `own_lr` the recipe's rate. `points` must not be empty."""
    losses = [point.loss for point in points]
    mean = smoothed(losses)
    # What exploded would leave no room for the rest.
    ceiling = min(max(losses), 1.6 * max(mean[0], min(mean)))
    ticks = charts.nice_ticks(min(*losses, ceiling), ceiling, 6)
    frame = Frame(
        width=_WIDTH,
        height=_HEIGHT,
        x_low=math.log10(points[0].lr),
        x_high=math.log10(points[-1].lr),
        y_low=ticks[0],
        y_high=ticks[-1],
        left=56,
        top=70,
        right=22,
    )
    parts = [charts.label(2, 20, title, "name")]
    parts += charts.axes(
        frame, _decades(frame), [(tick, f"{tick:g}") for tick in ticks], "learning rate (logarithmic)", ""
    )
    parts.append(charts.label(2, frame.top - 10, "training loss", "unit"))
    for css, values in (("raw", losses), ("mean", mean)):
        shown = [
            (math.log10(point.lr), min(value, ticks[-1])) for point, value in zip(points, values, strict=True)
        ]
        parts.append(charts.line(frame, shown, css))
    parts += _marks(frame, reading, picked, own_lr)
    about = f"Loss at {len(points)} learning rates from {points[0].lr:g} to {points[-1].lr:g}."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img"><title>{charts.clean(title)}</title><desc>{charts.clean(about)}</desc>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _decades(frame: Frame) -> list[charts.Tick]:
    """Powers of ten on the axis, with twos and fives between them where there is room."""
    factors = (1, 2, 5) if frame.x_high - frame.x_low <= 3 else (1,)
    powers = range(math.floor(frame.x_low), math.ceil(frame.x_high) + 1)
    places = [(math.log10(factor) + power, factor * 10.0**power) for power in powers for factor in factors]
    inside = [
        (place, f"{rate:g}") for place, rate in places if frame.x_low - 1e-9 <= place <= frame.x_high + 1e-9
    ]
    return inside


def _marks(frame: Frame, reading: Reading | None, picked: float | None, own_lr: float) -> list[str]:
    """A line at each rate that is spoken of, with its name above, each name in a row of its own."""
    marks = [("own", "recipe", own_lr)]
    if picked is not None:
        marks.append(("pick", "suggestion", picked))
    if reading is not None:
        marks.append(("soft", "steepest", reading.steepest))
    parts = []
    for row, (css, name, rate) in enumerate(marks):
        place = math.log10(rate)
        if frame.x_low <= place <= frame.x_high:
            x, y = frame.x(place), 36 + 14 * row
            beside = x > _WIDTH / 2
            parts.append(
                f'<line class="rule {css}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{frame.floor}"/>'
            )
            words = f"{name} {text.significant(rate)}"
            parts.append(
                charts.label(x - 6 if beside else x + 6, y, words, f"{css}{' end' if beside else ''}")
            )
    return parts
