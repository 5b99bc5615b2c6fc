"""The teacher of a distillation (loss.teacher): a run's folder, a file of weights, or a network that timm publishes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import MEAN, STD
from engine.errors import UserError
from engine.models import from_timm
from engine.models.input_size import refuse_sides
from engine.train.checkpoints.known_network import build_known, know_network
from engine.train.weights import sides_of

_OPTION = "loss.teacher"
_TRAINED = "section resolution"


def build_teacher(config: TrainConfig, num_classes: int, names: Sequence[str] | None) -> nn.Module:
    """The teacher on the CPU: images as the student gets them, (n, 3, side, side), to logits (n, num_classes).

    `names` are those of the data's classes, where they are known. Raises UserError for weights that can't be had, don't
    fit or are of other classes, and for a network that can't take the student's images.
    """
    loss, compared = config.loss, names if config.model.match_classes else None
    if loss.teacher.startswith(from_timm.PREFIX):
        arch, teacher = loss.teacher, _published(loss.teacher, num_classes, compared)
    else:
        known = know_network(Path(loss.teacher), _OPTION)
        arch = loss.teacher_arch or known.arch or ""
        if not arch:
            raise UserError(
                f"loss.teacher: {known.file} does not say which network it is of, and loss.teacher_arch is not set: "
                "set it, such as --loss.teacher_arch=resnet50"
            )
        known = replace(known, arch=arch, use_blurpool=loss.teacher_blurpool or bool(known.use_blurpool))
        teacher, _ = build_known(
            known, num_classes, torch.device("cpu"), names=compared, channels_last=False, option=_OPTION
        )
    try:
        refuse_sides(teacher, arch, {_TRAINED: sides_of(config)[_TRAINED]})
    except UserError as error:
        reason = str(error).removeprefix("model.arch: ")
        raise UserError(f"{_OPTION} sees the student's images, and {reason}") from None
    return teacher


def _published(name: str, num_classes: int, names: Sequence[str] | None) -> nn.Module:
    found = from_timm.published(name, _OPTION)
    if found.ids is None or len(found.ids) != num_classes:
        raise UserError(
            f"{_OPTION}: timm's weights teach ImageNet's 1,000 classes, {name} is of "
            f"{'those' if found.ids else 'others'} and the data have {num_classes:,}: give a run on these data"
        )
    # Names in plain words are in no file of timm's: they are taken to be in the order of the ids.
    if names and set(names) & set(found.ids) and list(names) != found.ids:
        raise UserError(
            f"{_OPTION}: {name}'s outputs are in the order of ImageNet's ids, and the data's classes are not those in "
            "that order: convert the data with the ids as class folders"
        )
    given = tuple(tuple(value / 255 for value in part) for part in (MEAN, STD))
    return from_timm.Renormalised(found.model, given, (found.mean, found.std))
