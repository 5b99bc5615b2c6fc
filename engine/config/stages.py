"""A recipe of several stages -> the options of each stage, as pure functions of files and command line.

Each item of a recipe's `then:` gives the options that differ from the stage before. A later stage is a complete run
that starts from the weights of the stage before; it inherits every option except those that say where a run starts.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError

# Every run folder has its settings under these names.
CONFIGS_OF_A_RUN = ("config.yaml", "stages.yaml")

Values = dict[tuple[str, ...], Any]
"""Parsed values by (section, option); options that are not set are missing."""

WEIGHTS = "weights.pt"
WEIGHTS_EMA = "weights_ema.pt"
"""The files a run writes into its folder: its weights and, if it has one, their moving average."""

_FIRST, _EVAL_ONLY = ("training", "first_stage"), ("training", "eval_only")
_WEIGHTS, _USE_EMA, _RESET_HEAD = ("model", "weights"), ("model", "use_ema"), ("model", "reset_head")
_WEIGHTS_KEY = ("model", "weights_key")
_RESUME, _HALF_LIFE = ("training", "resume"), ("training", "ema_half_life")

_START: tuple[tuple[str, ...], ...] = (_WEIGHTS, _WEIGHTS_KEY, _USE_EMA, _RESET_HEAD, _RESUME)
"""The options that say where a run starts."""

_OF_THE_END = ("target_top1", "stop_at_target")
"""Options of section budget that belong to the last stage alone."""

_FROM_THE_ONE_BEFORE = (
    "a stage starts from the weights of the stage before (model.use_ema: from their average)"
)
_OF_ALL = "it must be the same in all stages: set it above `then:`"
_REFUSED = {
    "model.weights": _FROM_THE_ONE_BEFORE,
    "model.weights_key": _FROM_THE_ONE_BEFORE,
    "model.reset_head": _FROM_THE_ONE_BEFORE,
    "training.resume": "it applies to the whole run: pass --training.resume=RUN",
    "training.eval_only": "it applies to the whole recipe: set it above `then:`",
    "training.first_stage": "it applies to the whole recipe: set it above `then:`",
    **dict.fromkeys(("model.arch", "training.device", "data.pin_cores", "data.holdout"), _OF_ALL),
    **dict.fromkeys(("logging.folder", "logging.name"), _OF_ALL),
}
"""Options that may not be set in an item of `then:`, and why."""


def refuse_in_stage(key: str, where: str) -> None:
    """Raises UserError for an option that no item of `then:` may set; `where` names the stage and its file."""
    if reason := _REFUSED.get(key):
        raise UserError(f"{key} can't be set {where}: {reason}")


def stage_folder(number: int | str) -> str:
    """Name of a stage's folder within the run's folder, counted from 1; "*" gives a pattern for all."""
    return f"stage{number}"


def stage_values(in_files: Values, then: Sequence[Values], on_line: Values) -> list[Values]:
    """The options of each stage: the first has `in_files`, each later one its item of `then` too, all have `on_line`.

    A later stage's model.weights is the file that the stage before writes, relative to the run's folder; the user's
    model.weights, weights_key, use_ema and reset_head belong to the first stage that runs (training.first_stage). Only
    the last stage has a target and, unless budget.adapt keeps all stages to it together, a time limit. With
    training.eval_only the last stage is the only one. Raises UserError for a first_stage that does not exist, and for
    averaged weights that the stage before does not keep.
    """
    whole = {**in_files, **on_line}
    # A resumed run has its weights; the file that its recipe once started from may be gone.
    said: Values = {**on_line, _RESUME: whole[_RESUME]} if whole.get(_RESUME) else whole
    of_start: Values = {path: said[path] for path in _START if path in said}
    inherited, own = [_without_start(in_files)], [of_start]
    for item in then:
        inherited.append(_without_start({**inherited[-1], **item}))
        own.append(item)
    stages = [{**values, **_without_start(on_line)} for values in inherited]
    if whole.get(_EVAL_ONLY):
        return [{**stages[-1], **of_start}]
    first = _first_stage(whole, len(stages))
    for number, (values, item) in enumerate(zip(stages, own, strict=True), start=1):
        if number < len(stages):
            shared = bool(values.get(("budget", "adapt")))
            for path in [path for path in values if path[0] == "budget"]:
                # A time limit that is kept to is that of all stages together.
                if not shared or path[1] in _OF_THE_END:
                    del values[path]
        averaged = bool(item.get(_USE_EMA))
        if number == first:
            values.update({**of_start, _USE_EMA: on_line.get(_USE_EMA, averaged)})
        elif number > first:
            values[_WEIGHTS] = _left_by(number - 1, stages[number - 2], averaged)
    return stages


def as_recipe(stages: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The recipe, as a dictionary for YAML, that gives these stages again; each stage is as load.to_dict returns it."""
    top = {section: dict(options) for section, options in stages[0].items()}
    first = top["training"]["first_stage"]
    for section, key in (_WEIGHTS, _WEIGHTS_KEY, _RESET_HEAD):
        top[section][key] = stages[first - 1][section][key]
    then = []
    for number, (before, stage) in enumerate(pairwise(stages), start=2):
        item: dict[str, Any] = {}
        for section, options in stage.items():
            for key, value in options.items():
                # use_ema is not inherited: where it is missing, it is off.
                listed = f"{section}.{key}" not in _REFUSED and (section, key) != _USE_EMA
                if listed and value != before[section][key]:
                    item.setdefault(section, {})[key] = value
        average = stage["model"]["weights"] == f"{stage_folder(number - 1)}/{WEIGHTS_EMA}"
        if stage["model"]["use_ema"] or (number > first and average):
            item.setdefault("model", {})["use_ema"] = True
        then.append(item)
    return {**top, "then": then}


def check_stages(stages: Sequence[TrainConfig]) -> None:
    """Raises UserError for stages, each already checked, that don't go together."""
    for number, stage in enumerate(stages, start=1):
        if stage.data.replay and len(stages) > 1:
            raise UserError(
                f"in stage {number}: data.replay leaves no weights for a later stage: measure each stage by itself"
            )
        if stage.data.holdout and stage.training.seed != stages[0].training.seed:
            raise UserError(
                f"in stage {number}: training.seed selects the images of data.holdout, which no stage may train on: "
                f"use the same seed in all stages"
            )


def _first_stage(whole: Values, count: int) -> int:
    first = int(whole.get(_FIRST, 1))
    if first > count:
        stages = "1 stage" if count == 1 else f"{count} stages"
        raise UserError(f"training.first_stage is {first}, but the recipe has only {stages}: lower it")
    if whole.get(_RESUME):
        # The run's folder records where it started.
        return 1
    if first > 1 and not whole.get(_WEIGHTS):
        raise UserError("training.first_stage needs weights to start from: pass --model.weights=FILE")
    return first


def _left_by(number: int, values: Values, averaged: bool) -> str:
    """The file that stage `number`, with options `values`, writes for the next one. Raises UserError."""
    if averaged and not values.get(_HALF_LIFE):
        raise UserError(
            f"in stage {number + 1}: model.use_ema needs the averaged weights of stage {number}: set "
            f"training.ema_half_life there, or drop model.use_ema"
        )
    return f"{stage_folder(number)}/{WEIGHTS_EMA if averaged else WEIGHTS}"


def _without_start(values: Values) -> Values:
    return {path: value for path, value in values.items() if path not in _START}
