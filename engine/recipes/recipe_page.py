"""One recipe in full: its comment, the options of each stage, published figures, and the command that starts it."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.config.installation import CONVERT, RECIPES, TRAIN
from engine.config.load import to_dict
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.recipes.shelf import Recipe, path_of
from engine.recipes.table import WIDTH
from engine.report import published, text

# Not settings, or printed elsewhere on the page.
_APART = {"reference"}
_STARTS = {("data", "train_dataset"), ("data", "val_dataset"), ("model", "weights")}


def page(recipe: Recipe, root: Path = RECIPES) -> str:
    """The page as text, in lines of at most WIDTH characters unless they can't be wrapped."""
    stages = recipe.stages
    epochs = "+".join(str(stage.training.epochs) for stage in stages)
    blocks = [
        f"{path_of(recipe)}: {epochs} epochs of {stages[0].model.arch}",
        file_comment((root / path_of(recipe)).read_text(encoding="utf-8")),
    ]
    before = defaults()
    for number, stage in enumerate(stages, start=1):
        settings = to_dict(stage)
        title = "options that differ from " + ("the defaults" if number == 1 else f"stage {number - 1}")
        name = f"stage {number} of {len(stages)}: " if len(stages) > 1 else ""
        different = _different(settings, before, "default" if number == 1 else "was")
        blocks.append("\n".join([f"{name}{title}", *different, *_published(stage)]))
        before = settings
    blocks += [_data(recipe), _commands(recipe)]
    return "\n\n".join(block for block in blocks if block)


def file_comment(content: str) -> str:
    """The comment at the start of a recipe's file, without the # signs."""
    lines = []
    for line in content.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


def defaults() -> dict[str, dict[str, Any]]:
    """section -> option -> default value of train_imagenet.py's options."""
    fields = TrainConfig.__dataclass_fields__
    return {
        name: {key: spec.default for key, spec in options_of(field.default_factory).items()}  # type: ignore[arg-type]
        for name, field in fields.items()
    }


def _different(
    settings: Mapping[str, Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]], called: str
) -> list[str]:
    """A line for each option that differs from `before`: name, value, and the other value after the word `called`."""
    changed = [
        (f"{section}.{key}", text.setting(value), text.setting(before[section][key]))
        for section, options in settings.items()
        for key, value in options.items()
        if section not in _APART and (section, key) not in _STARTS and value != before[section][key]
    ]
    wide = [max((len(row[column]) for row in changed), default=0) for column in (0, 1)]
    return [f"  {name:<{wide[0]}}  {value:<{wide[1]}}  {called} {was}" for name, value, was in changed]


def _published(stage: TrainConfig) -> list[str]:
    """The figures that others published for a stage, as lines marked as theirs."""
    reference = stage.reference
    if not reference.source:
        return []
    known = asdict(reference)
    said = f"{reference.source}, not ours: {', '.join(published.figures(known)) or 'no figures given'}"
    rows = [("published", said), ("note", reference.note), ("where", reference.citation)]
    points = [f"{epoch}: {text.percent(top1)}" for epoch, top1 in reference.curve_points()]
    rows.append(("top-1 after", ", ".join(points) and f"epoch {', '.join(points)}"))
    lines = []
    for name, value in rows:
        indent = " " * 15
        if value:
            lines += textwrap.wrap(f"  {name:<11}  {value}", WIDTH, subsequent_indent=indent)
    return lines


def _data(recipe: Recipe) -> str:
    """The part of an image that training and validation use, and the size to store for that."""
    seen = [_seen(stage) for stage in recipe.stages]
    if len(set(seen)) > 1:
        seen = [f"stage {number}: {words}" for number, words in enumerate(seen, start=1)]
    lines = ["data: any train.beton and val.beton written by write_dataset.py or ffcv"]
    for words in dict.fromkeys(seen):
        lines += textwrap.wrap(f"  {words}", WIDTH, subsequent_indent="    ")
    side = short_side(recipe)
    lines.append(
        f"  store images with a shorter side of at least {side} px: then validation enlarges none of them"
    )
    return "\n".join(lines)


def _seen(stage: TrainConfig) -> str:
    """The part of an image that a stage uses, in training and in validation."""
    law, validation = stage.augmentation, stage.validation
    if law.min_scale == 1 and law.max_aspect == 1:
        crops = "the largest centred square of each image"
    else:
        crops = f"{law.min_scale:.0%} to {law.max_scale:.0%} of each image"
        crops += f", at most {law.max_aspect:.3g} times as wide as high, or as high as wide"
    flips = "half of them flipped" if law.flip else "none flipped"
    tta = "with flip TTA" if validation.lr_tta else "no TTA"
    measured = f"{validation.resolution} px, crop ratio {validation.ratio:.3g}, {tta}"
    return f"trained on {crops}, {flips}; validated at {measured}"


def short_side(recipe: Recipe) -> int:
    """The smallest even shorter side, in pixels, from which validation takes its crops without enlarging images."""
    sides = [
        math.ceil(side / ratio - 1e-6)
        for stage in recipe.stages
        for side, ratio in (
            (stage.validation.resolution, stage.validation.ratio),
            (stage.validation.plain_resolution, stage.validation.plain_ratio),
        )
    ]
    return max(sides) + max(sides) % 2


def _commands(recipe: Recipe) -> str:
    """The commands to type, with the user's own folders in capitals."""
    convert = f"{CONVERT} --source.path=IMAGES --output.folder=DATA --output.format=yuv420"
    side = short_side(recipe)
    if side > 256:
        convert += f" --output.short_side={side}"
    return "\n".join(
        [
            "start it (on N GPUs: torchrun --nproc-per-node=N instead of python)",
            f"  {convert}",
            f"  {TRAIN} -C {path_of(recipe)} \\",
            "    --data.train_dataset=DATA/train.beton --data.val_dataset=DATA/val.beton",
        ]
    )
