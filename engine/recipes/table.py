"""The shelf as a table: wrapped to a terminal's width, or as Markdown. What others published is marked as theirs."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from engine.config.schema import TrainConfig
from engine.recipes.techniques import changes, techniques
from engine.report import text
from engine.report.shelf import Recipe
from engine.train.resolution import batch_at, resolution_at

WIDTH = 120

HEADS = ("recipe", "epochs", "network, optimizer", "px", "batch", "techniques", "published*", "source")
LEGEND = (
    "px: training resolutions / validation's; batch: global; +, then: a further stage; *: others' figures, not ours: "
    "top-1, minutes, hardware, TTA; ?: needs the note in `python -m engine recipes NAME`"
)

# These share what the others leave, which are as wide as their longest word.
_ELASTIC = {5: 0.46, 6: 0.29, 7: 0.25}

# Where a line of a cell is not to end: between the words of one technique, or a figure and its unit.
_TIED = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe's cells, in the order of HEADS."""

    cells: tuple[str, ...]


def row_of(recipe: Recipe) -> Row:
    """What the table says of a recipe."""
    stages = recipe.stages
    cells = (
        recipe.name,
        "+".join(str(stage.training.epochs) for stage in stages),
        f"{stages[0].model.arch}, {_joined([stage.training.optimizer for stage in stages])}",
        f"{_joined([_resolutions(stage) for stage in stages])} /{stages[-1].validation.resolution}",
        _joined([_batches(stage) for stage in stages]),
        techniques_of(stages),
        published(stages),
        stages[-1].reference.source or "this project",
    )
    return Row(cells=cells)


def techniques_of(stages: Sequence[TrainConfig]) -> str:
    """What the first stage switches on, and what each further one changes."""
    each = [techniques(stage) for stage in stages]
    later = [changes(before, after) or ["the same"] for before, after in pairwise(each)]
    return f";{_TIED}then ".join(_listed(words) for words in (each[0].values(), *later))


def published(stages: Sequence[TrainConfig]) -> str:
    """Their accuracy at the end, their time for all stages, their hardware, and whether with TTA; a dash for none."""
    last = stages[-1].reference
    doubt = "?" if last.note else ""
    parts = []
    if last.top1:
        parts.append(f"{text.percent(last.top1)}{doubt}")
    if last.minutes:
        parts.append(f"{last.minutes:.4g} min")
    hardware = dict.fromkeys(stage.reference.hardware for stage in stages if stage.reference.hardware)
    if hardware and parts:
        parts.append(" then ".join(hardware))
    if last.top1:
        parts.append("with TTA" if last.tta else "no TTA")
    return _listed(parts) or text.MISSING + doubt


def terminal(rows: Sequence[Row], width: int = WIDTH) -> str:
    """The table in lines of at most `width` characters; long cells go on below."""
    wide = _widths(rows, width)
    lines = [*_wrapped(HEADS, wide), _line(["-" * column for column in wide], wide)]
    lines += [line for row in rows for line in _wrapped(row.cells, wide)]
    return "\n".join([*lines, "", *textwrap.wrap(LEGEND, width)]).replace(_TIED, " ")


def markdown(rows: Sequence[Row]) -> str:
    """The table as a Markdown file holds it."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows]
    note = LEGEND[0].upper() + LEGEND[1:].replace("*", "\\*") + "."
    return "\n".join([*lines, "", note]).replace(_TIED, " ")


def _resolutions(stage: TrainConfig) -> str:
    """The training resolutions of a stage: up to three of them, or the first and the last."""
    epochs = stage.training.epochs
    sides = list(dict.fromkeys(resolution_at(stage.resolution, epoch, epochs) for epoch in range(epochs)))
    return ",".join(map(str, sides)) if len(sides) <= 3 else f"{sides[0]}-{sides[-1]}"


def _batches(stage: TrainConfig) -> str:
    """The global batches of a stage, in the order in which they come."""
    epochs, resolution = stage.training.epochs, stage.resolution
    sides = dict.fromkeys(resolution_at(resolution, epoch, epochs) for epoch in range(epochs))
    batches = dict.fromkeys(batch_at(resolution, side, stage.training.batch_size) for side in sides)
    return ", ".join(map(str, batches))


def _joined(stages: Sequence[str]) -> str:
    """A cell of all stages: said once where it is the same in all."""
    return stages[0] if len(set(stages)) == 1 else " +".join(stages)


def _widths(rows: Sequence[Row], width: int) -> list[int]:
    """The columns' widths, in characters, which with two blanks between them make `width`."""
    columns = list(zip(HEADS, *(row.cells for row in rows), strict=True))
    wide = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    left = (
        width - 2 * (len(HEADS) - 1) - sum(wide[index] for index in range(len(wide)) if index not in _ELASTIC)
    )
    for index, share in _ELASTIC.items():
        # A word that is wider than its column would be broken.
        wide[index] = max(wide[index], int(share * left))
    return wide


def _wrapped(cells: Sequence[str], wide: Sequence[int]) -> list[str]:
    """A row's lines: its cells in their columns' widths."""
    columns = [_wrapped_cell(cell, column) for cell, column in zip(cells, wide, strict=True)]
    return [_line(cells_of_line, wide) for cells_of_line in zip_longest(*columns, fillvalue="")]


def _wrapped_cell(cell: str, width: int) -> list[str]:
    """The lines of a cell; words that belong together part only where they don't fit on one."""
    pieces = [piece if len(piece) <= width else piece.replace(_TIED, " ") for piece in cell.split(" ")]
    return textwrap.wrap(" ".join(pieces), width, break_on_hyphens=False)


def _listed(words: Iterable[str]) -> str:
    """Words with commas between them; a line may end only there."""
    return ", ".join(word.replace(" ", _TIED) for word in words)


def _line(cells: Sequence[str], wide: Sequence[int]) -> str:
    return "  ".join(cell.ljust(column) for cell, column in zip(cells, wide, strict=True)).rstrip()
