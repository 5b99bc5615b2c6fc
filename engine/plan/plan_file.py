"""Writes plan.yaml: a recipe's base, the length and budget that were chosen, and what was predicted."""

import math
import os
from pathlib import Path
from typing import Any

import yaml

from engine.config.installation import RECIPES, TRAIN
from engine.config.load import load_train_config
from engine.errors import UserError
from engine.files import atomic_write
from engine.plan.candidates import Candidate
from engine.plan.choice import Choice

_HEAD = "# Written by `python -m engine plan`. Train it with: {train} -C {name}\n"


def write_plan(
    choice: Choice, path: Path, *, data: tuple[str, str] | None = None, force: bool = False
) -> None:
    """Write the choice's pick for `train_imagenet.py -C PATH`; the file is complete or absent.

    Raises UserError without a pick, where another file is there and not `force`, and where it can't be written.
    """
    if choice.pick is None:
        raise UserError("nothing fits, so there is no plan to write")
    check_free(path, force=force)
    text = plan_text(choice, path, data=data)
    with atomic_write(path) as file:
        file.write(text.encode())
    # What is written must be read again by the next command, not fail there.
    load_train_config(["-C", str(path), *_any_data(data)])


def check_free(path: Path, *, force: bool) -> None:
    """Raises UserError where `path` can't be written: another file is there, or no folder."""
    if path.exists() and not force:
        raise UserError(f"{path} already exists: choose another --output, or pass --force to replace it")
    if not path.parent.is_dir():
        raise UserError(
            f"{path}: the folder {path.parent} does not exist: create it, or choose another --output"
        )


def plan_text(choice: Choice, path: Path, *, data: tuple[str, str] | None = None) -> str:
    """The file's text; `path` is where it will be, to which its `base:` is relative."""
    assert choice.pick is not None
    content = plan_content(choice, choice.pick)
    recipe = os.path.relpath(RECIPES / choice.pick.family.recipe, path.resolve().parent)
    if data:
        content["data"] = {"train_dataset": data[0], "val_dataset": data[1]}
    head = _HEAD.format(train=TRAIN, name=path)
    return head + yaml.safe_dump({"base": recipe, **content}, sort_keys=False, allow_unicode=True, width=110)


def plan_content(choice: Choice, pick: Candidate) -> dict[str, Any]:
    """section -> option -> value of the plan, beside its base and its data."""
    training: dict[str, Any] = {"epochs": pick.config.training.epochs}
    # Also where it is empty: the base may have one.
    training["timeline"] = pick.config.training.timeline
    if pick.pace.precision:
        training["precision"] = pick.pace.precision
    # Rounded up: the promise must not be shorter than what was found to fit.
    minutes = math.ceil(choice.limit / 60 * 100 - 1e-6) / 100
    duration = pick.duration
    sides = {side: pick.pace.at(side).rate for side in pick.sides}
    return {
        "training": {key: value for key, value in training.items() if value != ""},
        "validation": {"every": pick.config.validation.every},
        "budget": {
            "target_top1": round(choice.target, 4),
            "minutes": minutes,
            "adapt": True,
            **({"price": pick.price} if pick.price else {}),
        },
        "plan": {
            "family": pick.family.name,
            "minutes": round(duration.seconds / 60, 3),
            "minutes_low": round(duration.low / 60, 3),
            "minutes_high": round(duration.high / 60, 3),
            "pace": ", ".join(f"{side}:{rate:.6g}" for side, rate in sides.items()),
            "validation_seconds": round(pick.pace.validation_seconds, 3),
            "finish_seconds": round(pick.pace.finish_seconds, 3),
            "machine": f"{pick.pace.machine}, {'measured' if pick.pace.measured else 'by published speeds'}",
        },
    }


def _any_data(data: tuple[str, str] | None) -> list[str]:
    return [] if data else ["--data.train_dataset=train.beton", "--data.val_dataset=val.beton"]
