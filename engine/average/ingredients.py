"""The weights that are averaged, of several runs or of one run's checkpoints, and the recipe that measures them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config.load import load_train_config
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.runs.folder import CHECKPOINTS, CONFIG, checkpoints_of, stages_with
from engine.runs.model_card import ModelCard
from engine.train.checkpoints.known_network import KnownNetwork, know_network


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """Weights to average with others; `name` is printed for them."""

    name: str
    known: KnownNetwork


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the networks are measured, and how images become those that they were trained on."""

    config: TrainConfig
    name: str
    of_training: bool
    """Whether `config` is that of the training, and not only what is known of the validation."""


def gather(paths: Sequence[Path]) -> list[Ingredient]:
    """The weights meant by `paths`: of one run's folder its checkpoints, the oldest first, else those of each.

    Raises UserError where there are fewer than two, for one that is given twice, and for networks that differ.
    """
    if len(paths) == 1 and paths[0].is_dir():
        files = _checkpoints(paths[0])
        found = [Ingredient(name=file.name, known=know_network(file, "average")) for file in files]
    else:
        found = [Ingredient(name=str(path), known=know_network(path, "average")) for path in paths]
    if len(found) < 2:
        raise UserError(f"average: {paths[0]} is one file of weights: give at least two, or a run's folder")
    seen: dict[Path, str] = {}
    for one in found:
        twice = seen.setdefault(one.known.file.resolve(), one.name)
        if twice is not one.name:
            raise UserError(f"average: {one.name} and {twice} are the same weights: give each once")
    _check_alike(found)
    return found


def _checkpoints(run: Path) -> list[Path]:
    folders = [run, *reversed(stages_with(run, CONFIG))]
    folder = next((one for one in folders if checkpoints_of(one)), run)
    files = checkpoints_of(folder)[::-1]
    if len(files) < 2:
        raise UserError(
            f"average: {folder / CHECKPOINTS} holds {len(files)} of the run's checkpoints, and averaging needs two: "
            "keep more of them (--checkpoint.keep=10 of train_imagenet.py), or give several runs"
        )
    return files


def _check_alike(found: Sequence[Ingredient]) -> None:
    """Raises UserError for networks of other architectures, or of which only some have BlurPool, or other classes."""
    first = found[0]
    for other in found[1:]:
        (arch, blurs), (its_arch, its_blurs) = (
            (one.known.arch, one.known.use_blurpool) for one in (first, other)
        )
        unlike = ""
        if arch and its_arch and arch != its_arch:
            unlike = f"is of {its_arch} and {first.name} of {arch}"
        elif blurs is not None and its_blurs is not None and blurs != its_blurs:
            unlike = f"was trained {_blurred(its_blurs)} and {first.name} {_blurred(blurs)}"
        elif difference := other_classes(other.known.classes, first.known.classes):
            unlike = f"and {first.name} are of other classes ({difference})"
        if unlike:
            raise UserError(
                f"average: {other.name} {unlike}: weights are averaged between networks of one kind; networks that "
                "differ are evaluated together by model.ensemble"
            )


def _blurred(blurs: bool) -> str:
    return "with BlurPool" if blurs else "without BlurPool"


def other_classes(theirs: Sequence[str] | None, ours: Sequence[str] | None) -> str:
    """The first name that only one of two lists has, in words; empty where both have the same, or one is not known."""
    if theirs is None or ours is None or sorted(theirs) == sorted(ours):
        return ""
    one, another = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
    return f"only one has {(one or another)[0]!r}" if one or another else "one names a class twice"


def recipe_of(first: Ingredient, options: Sequence[str], train: Path, val: Path) -> Recipe:
    """The recipe of the first weights: config.yaml of its run, else what its card says, with `options` over it.

    Raises UserError where neither is there and no option is given.
    """
    known = first.known
    fixed = [f"--data.train_dataset={train}", f"--data.val_dataset={val}", "--training.resume="]
    if known.place.config is not None:
        base = ["-C", str(known.place.config)]
    elif known.card is not None:
        base = _options_of(known.card)
    elif options:
        base = [f"--model.arch={known.arch}"] if known.arch else []
    else:
        raise UserError(
            f"average: {known.file} has neither a card nor a {CONFIG} beside it: say after a -- which network it is of "
            "and how it is validated, such as -- --model.arch=resnet50 --validation.resolution=224"
        )
    config, name = load_train_config([*base, *options, *fixed])
    if known.arch and known.arch != config.model.arch:
        config = replace(config, model=replace(config.model, arch=known.arch))
    return Recipe(
        config=config, name=name, of_training=known.place.config is not None or _names_recipe(options)
    )


def _names_recipe(options: Sequence[str]) -> bool:
    return any(word.startswith(("-C", "--config-file")) for word in options)


def _options_of(card: ModelCard) -> list[str]:
    """Options of train_imagenet.py by which the network of a card is built and validated as there."""
    asked, accuracies = card.preprocessing, card.accuracies
    options = {
        "model.arch": card.arch,
        "training.use_blurpool": card.use_blurpool,
        "validation.resolution": asked.resolution,
        "validation.ratio": asked.ratio,
        "validation.crop_law": asked.crop_law,
        "validation.lr_tta": bool(accuracies and accuracies[0].tta),
    }
    if accuracies and accuracies[-1].resolution and accuracies[-1].ratio:
        options["validation.plain_resolution"] = accuracies[-1].resolution
        options["validation.plain_ratio"] = accuracies[-1].ratio
    return [f"--{key}={value}" for key, value in options.items()]
