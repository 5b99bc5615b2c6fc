"""`python -m engine schedules`: learning rate, resolution and batch by epoch of every recipe.

One SVG for each folder of recipes, with a small picture of each recipe. The values come from engine.train.schedules,
which the trainer uses too, with the recipe's own options. The stages of a recipe are drawn one after another, separated
by a line.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from engine.config.train.train_config import TrainConfig
from engine.files import atomic_write
from engine.recipes.shelf import Recipe
from engine.report.drawing import charts
from engine.report.drawing.charts import Frame, Point
from engine.train.schedules import batch_at, lr_at, resolution_at

_COLUMNS = 3
_WIDTH, _HEIGHT, _GAP = 320, 248, 16
_POINTS = 100
# A moment before an epoch's end, and the relative change from which it counts as a jump.
_JUST, _JUMP = 1e-6, 1e-3
# The three strips of a picture: name -> (upper edge, lower edge).
_STRIPS = {"learning rate": (46, 114), "pixels": (137, 171), "batch": (194, 220)}

# The figure has to work by itself, on a light and on a dark page.
_STYLE = """
svg{font-family:system-ui,sans-serif;--ink:#1f2328;--soft:#59636e;--grid:#d1d9e0;--lr:#0550ae;--px:#116329;--batch:#953800}
@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--soft:#9198a1;--grid:#3d444d;--lr:#79c0ff;--px:#7ee787;--batch:#ffa657}}
text{fill:var(--soft);font-size:10.5px}.name{fill:var(--ink);font-size:13px;font-weight:600}.end{text-anchor:end}
.middle{text-anchor:middle}.grid,.axis{stroke:var(--grid);stroke-width:1}.line{fill:none;stroke-width:1.8}
.rule{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}.lr{stroke:var(--lr)}.px{stroke:var(--px)}
.batch{stroke:var(--batch)}
"""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A recipe's run: points (fractional epoch of the whole run, value), and the epochs at which its stages end."""

    lr: list[Point]
    resolution: list[Point]
    batch: list[Point]
    ends: list[int]


def curves(stages: Sequence[TrainConfig]) -> Curves:
    """The values that the trainer will use, over all stages."""
    lr: list[Point] = []
    resolution: list[Point] = []
    batch: list[Point] = []
    ends = list(accumulate(stage.training.epochs for stage in stages))
    for begin, stage in zip([0, *ends], stages, strict=False):
        lr += [(begin + epoch, learning_rate(stage, epoch)) for epoch in _sampled(stage)]
        resolution += _steps(begin, stage, _side)
        batch += _steps(begin, stage, _batch)
    return Curves(lr=lr, resolution=resolution, batch=batch, ends=ends)


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The learning rate that the trainer sets after `epoch` (fractional) epochs of a stage."""
    rate = lr_at(config.lr, epoch, config.training.epochs)
    if config.lr.batch_scaling == "linear":
        rate *= _batch(config, min(int(epoch), config.training.epochs - 1)) / config.training.batch_size
    return rate


def _side(config: TrainConfig, epoch: int) -> int:
    return resolution_at(config.resolution, epoch, config.training.epochs)


def _batch(config: TrainConfig, epoch: int) -> int:
    return batch_at(config.resolution, _side(config, epoch), config.training.batch_size)


def _sampled(config: TrainConfig) -> list[float]:
    """Epochs at which to draw a stage's learning rate: evenly spread, the peak, and both sides of every jump."""
    epochs = config.training.epochs
    even = {epochs * index / _POINTS for index in range(_POINTS + 1)}
    peak = config.lr.peak_epoch(epochs)
    jumps = {
        side
        for epoch in range(1, epochs)
        for side in (epoch - _JUST, float(epoch))
        if abs(learning_rate(config, epoch) / learning_rate(config, epoch - _JUST) - 1) > _JUMP
    }
    return sorted(even | jumps | ({peak} if peak <= epochs else set()))


def _steps(begin: int, config: TrainConfig, value: Callable[[TrainConfig, int], int]) -> list[Point]:
    """Both ends of each epoch's constant value; points between equal values are left out."""
    points: list[Point] = []
    for epoch in range(config.training.epochs):
        here = value(config, epoch)
        if len(points) > 1 and points[-1][1] == here:
            points.pop()
        else:
            points.append((begin + epoch, here))
        points.append((begin + epoch + 1, here))
    return points


def draw(family: str, recipes: Sequence[Recipe]) -> str:
    """The SVG of a folder of recipes."""
    columns = min(_COLUMNS, len(recipes))
    rows = -(-len(recipes) // columns)
    width, height = columns * (_WIDTH + _GAP) - _GAP, rows * (_HEIGHT + _GAP) - _GAP
    pictures = []
    for index, recipe in enumerate(recipes):
        x, y = index % columns * (_WIDTH + _GAP), index // columns * (_HEIGHT + _GAP)
        pictures.append(f'<g transform="translate({x} {y})">{"".join(_picture(recipe))}</g>\n')
    title = f"Learning rate, resolution and batch by epoch: the recipes of {family}_configs"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{charts.clean(title)}</title><style>{_STYLE}</style>\n{''.join(pictures)}</svg>\n"
    )


def _picture(recipe: Recipe) -> Iterable[str]:
    found = curves(recipe.stages)
    epochs = found.ends[-1]
    yield charts.label(0, 14, recipe.name, "name")
    yield from _strip("learning rate", "lr", found.lr, epochs, from_zero=True)
    yield from _strip("pixels", "px", found.resolution, epochs)
    yield from _strip("batch", "batch", found.batch, epochs)
    bottom = _frame("batch", epochs, (0, 1))
    for tick in charts.whole_ticks(0, epochs, 5):
        yield charts.label(bottom.x(tick), bottom.floor + 14, str(tick), "middle")
    yield charts.label(_WIDTH, bottom.floor + 27, "epochs", "end")
    for end in found.ends[:-1]:
        x, top = bottom.x(end), _STRIPS["learning rate"][0]
        yield f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom.floor}"/>'


def _strip(
    name: str, css: str, points: Sequence[Point], epochs: int, *, from_zero: bool = False
) -> Iterable[str]:
    """One strip: its name, lowest and highest value, and line."""
    values = [value for _, value in points]
    low, high = 0.0 if from_zero else min(values), max(values)
    # A constant value is drawn in the middle.
    frame = _frame(name, epochs, (low, high) if low < high else (low - 1, low + 1))
    yield charts.label(0, frame.top - 9, name, "strip")
    for value in sorted({low, high}):
        y = frame.y(value)
        yield f'<line class="grid" x1="{frame.left}" x2="{frame.edge}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield charts.label(frame.left - 5, y + 3.5, f"{value:.4g}", "end")
    if not from_zero and len({*values}) > 2:
        yield from _named_levels(frame, points)
    yield charts.line(frame, points, css)


def _named_levels(frame: Frame, points: Sequence[Point]) -> Iterable[str]:
    """Labels of the values between lowest and highest, above their lines, as far as there is room."""
    low, high = min(value for _, value in points), max(value for _, value in points)
    edge = 0.0
    for (left, value), (right, other) in pairwise(points):
        middle, text = (frame.x(left) + frame.x(right)) / 2, f"{value:.4g}"
        half = 3.2 * len(text)
        if value == other and low < value < high and middle - half > edge:
            yield charts.label(middle, frame.y(value) - 4, text, "middle")
            edge = middle + half + 4


def _frame(strip: str, epochs: int, y: tuple[float, float]) -> Frame:
    top, floor = _STRIPS[strip]
    return Frame(
        width=_WIDTH,
        height=_HEIGHT,
        x_low=0,
        x_high=epochs,
        y_low=y[0],
        y_high=y[1],
        left=42,
        right=14,
        top=top,
        bottom=_HEIGHT - floor,
    )


def write_pictures(folder: Path, shelf: Sequence[Recipe]) -> list[Path]:
    """Write schedules_<family>.svg to `folder` for each folder of recipes; returns the paths. Raises UserError."""
    written = []
    for family in dict.fromkeys(recipe.family for recipe in shelf):
        path = folder / f"schedules_{family}.svg"
        with atomic_write(path) as file:
            file.write(draw(family, [recipe for recipe in shelf if recipe.family == family]).encode())
        written.append(path)
    return written
