"""timm's networks by name, if timm is installed; nothing else needs it."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.registry import nearest

PREFIX = "timm:"


def build(arch: str, num_classes: int, *, dropout: float, stochastic_depth: float) -> nn.Module:
    """A newly initialised network `timm:NAME`, for any NAME of timm.create_model.

    Negative probabilities keep timm's. Raises UserError when timm is not installed, has no such network, or the network
    has no such probability.
    """
    timm = _timm(arch, "model.arch")
    # The part after the dot names published weights (resnet50.a1_in1k), which are not downloaded.
    plain = _plain_name(timm, arch, "model.arch")
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


@dataclass(frozen=True, kw_only=True)
class Published:
    """A network with weights that timm's authors published."""

    model: nn.Module
    """In training mode, on the CPU: (n, 3, h, w), normalised with its own mean and std, to logits."""
    mean: Sequence[float]
    """Of levels 0 to 1, by channel."""
    std: Sequence[float]
    ids: list[str] | None
    """ImageNet's ids of the classes, in the order of the outputs; None for other classes."""


def published(arch: str, option: str) -> Published:
    """The network `timm:NAME` or `timm:NAME.TAG` with its weights, which timm downloads unless they are in its cache.

    Raises UserError, which names `option`, when there are none, or they can't be fetched.
    """
    timm = _timm(arch, option)
    name = arch.removeprefix(PREFIX)
    _plain_name(timm, arch, option)
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{option}: timm gives no weights of {name} ({reason}): check the name and the connection, or give a file "
            "that holds them"
        ) from None
    known: Any = model.pretrained_cfg
    info = timm.data.ImageNetInfo("imagenet-1k")
    ids = info.label_names() if known["num_classes"] == info.num_classes() else None
    return Published(model=model, mean=known["mean"], std=known["std"], ids=ids)


class Renormalised(nn.Module):
    """A network behind a change of its input's normalisation, from one mean and std to another (levels 0 to 1)."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self, model: nn.Module, given: tuple[Sequence[float], ...], wanted: tuple[Sequence[float], ...]
    ) -> None:
        super().__init__()
        self.model = model
        (mean, std), (its_mean, its_std) = (
            (torch.tensor(part)[:, None, None] for part in pair) for pair in (given, wanted)
        )
        self.register_buffer("scale", std / its_std)
        self.register_buffer("shift", (mean - its_mean) / its_std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images * self.scale + self.shift)
        return logits


def _timm(arch: str, option: str) -> Any:
    try:
        # Imported by name: timm is an optional package.
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError(f"{option}: {arch} needs timm, which is not installed: pip install timm") from None


def _plain_name(timm: Any, arch: str, option: str) -> str:
    """The name without the tag of its weights. Raises UserError for a network that timm does not have."""
    name = arch.removeprefix(PREFIX)
    plain = name.split(".")[0]
    if not timm.is_model(plain):
        raise UserError(f"{option}: timm {timm.__version__} has no network {name!r}{_hint(timm, plain)}")
    return plain


def _hint(timm: Any, name: str) -> str:
    return nearest(name, timm.list_models())
