"""Why a run's accuracy may be far below its family's: each cause checked where it can be, the likeliest first.

What was found comes first, then what only the user can check, with the command, and last what is ruled out.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.config.installation import RECIPES
from engine.config.load import load_train_stages, to_dict
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import find_family
from engine.runs.evaluation_schema import EvaluationFile
from engine.runs.folder import EVALUATION
from engine.runs.log_schema import EpochLine

RATE_FACTOR = 1.5
"""A learning rate for each image of the batch that is this far from the recipe's is reported."""
GAP_POINTS = 1.0
"""Points of top-1 between our decoding and Pillow's from which the preprocessing is to blame."""
MOST_OPTIONS = 4
_IMPORTANT = ("model.", "resolution.", "augmentation.", "loss.", "lr.", "training.", "validation.")
_HARMLESS = {
    *("training.epochs", "training.seed", "training.resume", "training.device", "training.compile"),
    *("training.precision", "training.channels_last", "training.timeline", "training.fit_memory"),
    *("training.combo_kernels", "training.cuda_graphs", "training.device_batch_size"),
    *("training.deterministic", "training.tf32", "training.first_stage"),
    *("validation.batch_size", "validation.every", "lr.lr", "training.batch_size"),
    *("training.ema_half_life", "training.ema_every"),
}
"""Reported on their own, or without an effect on the accuracy at a point of the schedule."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the run knows beside its options; None: not known."""

    train_classes: list[str] | None = None
    """The class names of the training file, in label order."""
    val_classes: list[str] | None = None
    num_classes: int | None = None
    num_train: int | None = None
    precision: str | None = None
    """fp32, bf16 or fp16."""
    folder: Path | None = None
    """Of the run: an evaluation of the same validation file may lie in it or beside it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One alarm, as the checks see it."""

    config: TrainConfig
    facts: Facts
    epoch: EpochLine
    steps: int
    """Optimizer steps so far."""
    limit: float
    """Top-1 from which there would be no alarm."""


@dataclass(frozen=True)
class Checked:
    """A cause in words; `found`: True it is so, False it is ruled out, None it has to be checked by the user."""

    found: bool | None
    words: str


def likely_causes(config: TrainConfig, facts: Facts, epoch: EpochLine, steps: int, limit: float) -> list[str]:
    """The causes in words, the likeliest first; the last one lists those that are ruled out."""
    case = Case(config=config, facts=facts, epoch=epoch, steps=steps, limit=limit)
    checked = [result for check in CHECKS if (result := check(case)) is not None]
    found = [one.words for one in checked if one.found]
    found += [one.words for one in checked if one.found is None]
    ruled_out = [one.words for one in checked if one.found is False]
    return found + ([f"ruled out: {', '.join(ruled_out)}"] if ruled_out else [])


def check_rate(case: Case) -> Checked | None:
    """The learning rate for each image of the batch (Goyal et al. 2017), against the recipe's."""
    recipe = _recipe(case.config)
    if recipe is None:
        return None
    own = case.config
    ratio = (own.lr.lr / own.training.batch_size) / (recipe.lr.lr / recipe.training.batch_size)
    pairs = (
        f"learning rate {own.lr.lr:g} with batch {own.training.batch_size}, in the recipe {recipe.lr.lr:g} with batch "
        f"{recipe.training.batch_size}"
    )
    if 1 / RATE_FACTOR < ratio < RATE_FACTOR:
        return Checked(False, "learning rate against batch size")
    rate = recipe.lr.lr * own.training.batch_size / recipe.training.batch_size
    return Checked(True, f"{pairs}: try --lr.lr={rate:.3g}")


def check_classes(case: Case) -> Checked | None:
    """The class lists of the two files: other names, or another order."""
    train, val = case.facts.train_classes, case.facts.val_classes
    if train is None or val is None:
        return Checked(
            None,
            "a file does not name its classes, so labels of train and val may differ: compare both with `python -m "
            "engine inspect`",
        )
    if train == val:
        return Checked(False, "class lists of train and val")
    if sorted(train) == sorted(val):
        return Checked(
            True, "train and val have the same classes in another order: convert both from one source"
        )
    missing = sorted({*train} ^ {*val})
    return Checked(
        True, f"train and val have different classes, such as {missing[0]}: convert both from one source"
    )


def check_labels(case: Case) -> Checked | None:
    """Validation near chance while the training loss falls: labels or images of val are not those of train."""
    classes, loss = case.facts.num_classes, case.epoch.train_loss
    top1 = case.epoch.top1
    if not classes or loss is None or top1 is None:
        return None
    chance = math.log(classes)
    if top1 < 3 / classes and loss < 0.7 * chance:
        data = case.config.data
        return Checked(
            True,
            f"val is near chance while the training loss is {loss:.2f} (chance: {chance:.2f}): its labels may be in "
            f"another order; check with `python -m engine audit --train {data.train_dataset} --val {data.val_dataset}`",
        )
    return Checked(False, "label order") if loss < 0.7 * chance else None


def check_options(case: Case) -> Checked | None:
    """Options that differ from the family's recipe."""
    recipe = _recipe(case.config)
    if recipe is None:
        return None
    own, theirs = _flat(case.config), _flat(recipe)
    differing = [
        f"{name} {own[name]} (recipe: {theirs[name]})"
        for name in own
        if name.startswith(_IMPORTANT) and name not in _HARMLESS and not _alike(own[name], theirs[name])
    ]
    if not differing:
        return Checked(False, "options other than the recipe's")
    more = len(differing) - MOST_OPTIONS
    listed = ", ".join(differing[:MOST_OPTIONS]) + (f" and {more} more" if more > 0 else "")
    return Checked(True, f"options differ from the recipe's: {listed}")


def check_data(case: Case) -> Checked | None:
    """Fewer training images than the family's runs had, or many that could not be decoded."""
    skipped, images = case.epoch.skipped or 0, case.epoch.images or 0
    if skipped > 0.01 * (images + skipped):
        return Checked(
            True, f"{skipped} corrupt images were skipped: check the file with `python -m engine verify`"
        )
    known, own = find_family(case.config.plan.family).num_train, case.facts.num_train
    if own and own < 0.95 * known:
        return Checked(True, f"{own:,} training images, the family's runs had {known:,}")
    return None


def check_average(case: Case) -> Checked | None:
    """The average of the weights holds weights from before the network had learnt."""
    half_life = case.config.training.ema_half_life
    if not half_life:
        return None
    plain, averaged = case.epoch.top1, case.epoch.ema_top1
    if plain is not None and averaged is not None and plain >= case.limit:
        return Checked(
            True,
            f"the averaged weights are far behind the weights ({averaged:.2%}, {plain:.2%}): lower "
            f"training.ema_half_life ({half_life:g} steps, {case.steps} steps so far)",
        )
    if half_life > case.steps:
        return Checked(
            True,
            f"training.ema_half_life {half_life:g} is longer than the {case.steps} steps so far: the average is still "
            "near the initial weights",
        )
    return Checked(False, "averaging of the weights")


def check_images(case: Case) -> Checked | None:
    """Crop or colours of the validation images: the comparison with the original files, where one was made."""
    for found in _evaluations(case):
        gap = found.reference.gap_points if found.reference else None
        if gap is not None and abs(gap) >= GAP_POINTS:
            return Checked(
                True,
                f"crop or colours: as decoded here top-1 is {gap:+.2f} points from that on the original files",
            )
        if gap is not None:
            return Checked(False, "crop and colours")
    return Checked(
        None,
        "crop or colours of the images may differ: compare a checkpoint on the original files with "
        "--training.eval_only=true --validation.reference=IMAGES",
    )


def check_precision(case: Case) -> Checked | None:
    """Numbers too small or large for the format."""
    precision = case.facts.precision
    if case.epoch.skipped_steps:
        return Checked(
            True,
            f"{case.epoch.skipped_steps} steps of this epoch had non-finite gradients: try --training.precision=fp32",
        )
    if precision in ("fp16", "bf16"):
        return Checked(None, f"precision {precision}: compare a few epochs with --training.precision=fp32")
    return Checked(False, f"precision {precision}") if precision else None


CHECKS: tuple[Callable[[Case], Checked | None], ...] = (
    check_rate,
    check_average,
    check_classes,
    check_labels,
    check_options,
    check_data,
    check_images,
    check_precision,
)
"""The likeliest first."""


def _recipe(config: TrainConfig) -> TrainConfig | None:
    """The recipe of the run's family as it stands on the shelf; None where there is none."""
    file = find_family(config.plan.family).recipe
    if not file or not (RECIPES / file).exists():
        return None
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    try:
        return load_train_stages(["-C", str(RECIPES / file), *data])[0][0]
    except UserError:
        # Somebody has edited it; an alarm must not end a run for that.
        return None


def _flat(config: TrainConfig) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section, options in to_dict(config).items()
        for key, value in options.items()
    }


def _alike(own: object, recipe: object) -> bool:
    """Whether two values are equal; for fractions about equal, since ramps of equal recipes end on whole epochs."""
    if isinstance(own, float) and isinstance(recipe, float):
        return math.isclose(own, recipe, rel_tol=0.1)
    return own == recipe


def _evaluations(case: Case) -> list[EvaluationFile]:
    """The evaluations of the same validation file in the run's folder and in those beside it."""
    folder = case.facts.folder
    if folder is None:
        return []
    read = []
    for path in (folder / EVALUATION, *sorted(folder.parent.glob(f"*/{EVALUATION}"))):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            read.append(EvaluationFile.from_json(content))
        except (OSError, ValueError, TypeError):
            continue
    return [one for one in read if one.file == case.config.data.val_dataset]
