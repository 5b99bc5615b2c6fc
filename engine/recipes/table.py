"""The recipes as a table, wrapped to a terminal's width or as Markdown; published figures are marked as such.

The techniques of a recipe are derived from its configuration, so that the table can't disagree with it.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from engine.config.train.train_config import AugmentationConfig, TrainConfig
from engine.recipes.shelf import Recipe
from engine.report import text
from engine.train.schedules import batch_at, resolution_at

_POLICIES = {"auto-augment": "AutoAugment", "trivial-augment": "TrivialAugment"}


def techniques(config: TrainConfig) -> dict[str, str]:
    """Name -> words (with strength) of each technique that is on; the schedule first."""
    training, model, loss = config.training, config.model, config.loss
    found: list[tuple[str, object]] = [
        ("schedule", config.lr.lr_schedule_type),
        ("Nesterov", training.nesterov and "Nesterov"),
        ("SAM", training.sam_rho and _every("SAM", training.sam_interval)),
        ("clipping", training.clip_norm and f"clip {training.clip_norm:g}"),
        ("EMA", training.ema_half_life and "EMA"),
        ("BCE", loss.name == "bce" and "BCE"),
        ("smoothing", training.label_smoothing and f"smoothing {training.label_smoothing:g}"),
        ("distillation", loss.teacher and "distillation"),
        ("BlurPool", training.use_blurpool and "BlurPool"),
        ("stoch. depth", model.stochastic_depth > 0 and f"stoch. depth {model.stochastic_depth:g}"),
        ("dropout", model.dropout > 0 and f"dropout {model.dropout:g}"),
        ("zero-init", model.zero_init_residual and "zero-init"),
        ("head alone", model.train_only == "head" and "head alone"),
        *_augmentations(config.augmentation),
        ("compile", training.compile == "on" and "compile"),
        ("combo kernels", training.combo_kernels and "combo kernels"),
        ("CUDA graphs", training.cuda_graphs and "CUDA graphs"),
    ]
    # A technique that is off has 0, false or an empty text in place of its words.
    return {name: words for name, words in found if words and isinstance(words, str)}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The differences of a stage from the stage before, in words."""
    new = [words for name, words in after.items() if before.get(name) != words]
    return new + [f"no {name}" for name in before if name not in after]


def _augmentations(law: AugmentationConfig) -> list[tuple[str, object]]:
    rand = f"RandAugment {law.rand_augment_ops}x{law.rand_augment_magnitude:g}"
    return [
        ("whole images", law.min_scale == 1 and law.max_aspect == 1 and "whole images"),
        ("crops", 0.08 != law.min_scale < 1 and f"crops from {law.min_scale:.0%}"),
        ("unflipped", not law.flip and "unflipped"),
        ("repeats", law.repeats > 1 and f"{law.repeats} repeats"),
        ("policy", rand if law.policy == "rand-augment" else _POLICIES.get(law.policy)),
        ("jitter", any((law.brightness, law.contrast, law.saturation, law.hue)) and "jitter"),
        ("erasing", law.erasing_probability and f"erasing {law.erasing_probability:g}"),
        ("ColOut", any((law.colout_rows, law.colout_columns)) and "ColOut"),
        ("MixUp", law.mixup_alpha and f"MixUp {law.mixup_alpha:g}"),
        ("CutMix", law.cutmix_alpha and f"CutMix {law.cutmix_alpha:g}"),
    ]


def _every(name: str, interval: int) -> str:
    return name if interval == 1 else f"{name} every {interval}"


WIDTH = 120

HEADS = ("recipe", "epochs", "network, optimizer", "px", "batch", "techniques", "published*", "source")
LEGEND = (
    "px: training resolutions / validation's; batch: global; +, then: a further stage; *: others' figures, not ours: "
    "top-1, minutes, hardware, TTA; ?: needs the note in `python -m engine recipes NAME`"
)

# These columns share the remaining width; the others are as wide as their longest word.
_ELASTIC = {5: 0.44, 6: 0.29, 7: 0.27}

# Keeps together the words of one technique, or a figure and its unit.
_TIED = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe's cells, in the order of HEADS."""

    cells: tuple[str, ...]


def row_of(recipe: Recipe) -> Row:
    """The row of a recipe."""
    stages = recipe.stages
    cells = (
        recipe.name,
        "+".join(str(stage.training.epochs) for stage in stages),
        # Without the prefix: the table's width has no room for it.
        f"{stages[0].model.arch.removeprefix('timm:')}, {_joined([stage.training.optimizer for stage in stages])}",
        f"{_joined([_resolutions(stage) for stage in stages])} /{stages[-1].validation.resolution}",
        _joined([_batches(stage) for stage in stages]),
        techniques_of(stages),
        published(stages),
        stages[-1].reference.source or "this project",
    )
    return Row(cells=cells)


def techniques_of(stages: Sequence[TrainConfig]) -> str:
    """The techniques of the first stage, and the changes in each later one."""
    each = [techniques(stage) for stage in stages]
    later = [changes(before, after) or ["the same"] for before, after in pairwise(each)]
    return f";{_TIED}then ".join(_listed(words) for words in (each[0].values(), *later))


def published(stages: Sequence[TrainConfig]) -> str:
    """Published final accuracy, time of all stages, hardware, and whether with TTA; a dash if there is nothing."""
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
    """The table in lines of at most `width` characters; long cells are wrapped."""
    wide = _widths(rows, width)
    lines = [*_wrapped(HEADS, wide), _line(["-" * column for column in wide], wide)]
    lines += [line for row in rows for line in _wrapped(row.cells, wide)]
    return "\n".join([*lines, "", *textwrap.wrap(LEGEND, width)]).replace(_TIED, " ")


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows]
    note = LEGEND[0].upper() + LEGEND[1:].replace("*", "\\*") + "."
    return "\n".join([*lines, "", note]).replace(_TIED, " ")


def _resolutions(stage: TrainConfig) -> str:
    """The training resolutions of a stage: all of up to three, else the first and the last."""
    epochs = stage.training.epochs
    sides = list(dict.fromkeys(resolution_at(stage.resolution, epoch, epochs) for epoch in range(epochs)))
    return ",".join(map(str, sides)) if len(sides) <= 3 else f"{sides[0]}-{sides[-1]}"


def _batches(stage: TrainConfig) -> str:
    """The global batches of a stage, in order of use."""
    epochs, resolution = stage.training.epochs, stage.resolution
    sides = dict.fromkeys(resolution_at(resolution, epoch, epochs) for epoch in range(epochs))
    batches = dict.fromkeys(batch_at(resolution, side, stage.training.batch_size) for side in sides)
    return ", ".join(map(str, batches))


def _joined(stages: Sequence[str]) -> str:
    """A cell for all stages: a single value if it is the same in all."""
    return stages[0] if len(set(stages)) == 1 else " +".join(stages)


def _widths(rows: Sequence[Row], width: int) -> list[int]:
    """The columns' widths in characters; with two blanks between columns they add up to `width`."""
    columns = list(zip(HEADS, *(row.cells for row in rows), strict=True))
    wide = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    left = (
        width - 2 * (len(HEADS) - 1) - sum(wide[index] for index in range(len(wide)) if index not in _ELASTIC)
    )
    for index, share in _ELASTIC.items():
        # Never narrower than a word.
        wide[index] = max(wide[index], int(share * left))
    return wide


def _wrapped(cells: Sequence[str], wide: Sequence[int]) -> list[str]:
    """The lines of a row, each cell wrapped to its column's width."""
    columns = [_wrapped_cell(cell, column) for cell, column in zip(cells, wide, strict=True)]
    return [_line(cells_of_line, wide) for cells_of_line in zip_longest(*columns, fillvalue="")]


def _wrapped_cell(cell: str, width: int) -> list[str]:
    """The lines of a cell; words that belong together are separated only if they don't fit on one line."""
    pieces = [piece if len(piece) <= width else piece.replace(_TIED, " ") for piece in cell.split(" ")]
    return textwrap.wrap(" ".join(pieces), width, break_on_hyphens=False)


def _listed(words: Iterable[str]) -> str:
    """The words, separated by commas; a line can break only after a comma."""
    return ", ".join(word.replace(" ", _TIED) for word in words)


def _line(cells: Sequence[str], wide: Sequence[int]) -> str:
    return "  ".join(cell.ljust(column) for cell, column in zip(cells, wide, strict=True)).rstrip()
