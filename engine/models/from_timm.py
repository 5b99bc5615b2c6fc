"""timm's networks by name, if timm is installed; nothing else needs it."""

import importlib
from typing import Any

from torch import nn

from engine.errors import UserError
from engine.registry import nearest

PREFIX = "timm:"


def build(arch: str, num_classes: int, *, dropout: float, stochastic_depth: float) -> nn.Module:
    """A newly initialised network `timm:NAME`, for any NAME of timm.create_model.

    Negative probabilities keep timm's. Raises UserError when timm is not installed, has no such network, or the network
    has no such probability.
    """
    name = arch.removeprefix(PREFIX)
    try:
        # Imported by name: timm is an optional package.
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError(f"model.arch: {arch} needs timm, which is not installed: pip install timm") from None
    # The part after the dot names published weights (resnet50.a1_in1k), which are not downloaded.
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
