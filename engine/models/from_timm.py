"""timm's networks by name, where timm is installed; nothing else needs it."""

import importlib
from typing import Any

from torch import nn

from engine.errors import UserError
from engine.registry import nearest

PREFIX = "timm:"


def build(arch: str, num_classes: int, *, dropout: float, stochastic_depth: float) -> nn.Module:
    """The freshly initialised network that `timm:NAME` names; NAME may be any that timm.create_model knows.

    Negative probabilities leave what timm takes. Raises UserError when timm is not installed, has no such network,
    or the network takes no such probability.
    """
    name = arch.removeprefix(PREFIX)
    try:
        # By name: for mypy and for users it is an extra.
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError(f"model.arch: {arch} needs timm, which is not installed: pip install timm") from None
    # What follows the dot names published weights, as in resnet50.a1_in1k; here they are not fetched.
    plain = name.split(".")[0]
    if not timm.is_model(plain):
        raise UserError(f"model.arch: timm {timm.__version__} has no network {name!r}{_hint(timm, plain)}")
    asked = {"drop_rate": dropout, "drop_path_rate": stochastic_depth}
    given = {key: value for key, value in asked.items() if value >= 0}
    try:
        model: nn.Module = timm.create_model(plain, pretrained=False, num_classes=num_classes, **given)
    except TypeError as error:
        key = next((key for key in given if f"'{key}'" in str(error)), None)
        if key is None:
            raise
        name = "model.dropout" if key == "drop_rate" else "model.stochastic_depth"
        raise UserError(f"{name}: {arch} has no {key} argument; drop the option") from None
    return model


def _hint(timm: Any, name: str) -> str:
    return nearest(name, timm.list_models())
