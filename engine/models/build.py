"""Networks by name: ours from MODELS, torchvision's classification models, and timm's as `timm:NAME`.

A new network of ours is a class or function (num_classes) -> nn.Module and a line that registers it in MODELS.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torchvision
from torch import nn

from engine.errors import UserError
from engine.models import from_timm
from engine.models.blurpool import apply_blurpool
from engine.models.residual import apply_stochastic_depth, zero_init_residual
from engine.models.small import ResNet9, SmallResNet, resnet_32px
from engine.registry import Registry, nearest

MODELS: Registry[Callable[[int], nn.Module]] = Registry("model.arch")
MODELS.register("small_resnet")(SmallResNet)
MODELS.register("resnet9")(ResNet9)
for _depth in ("resnet18", "resnet34", "resnet50"):
    MODELS.register(f"{_depth}_32px")(partial(resnet_32px, _depth))

# Their auxiliary outputs need a separate loss and are not used for prediction.
_NO_AUXILIARY = {"aux_logits": False, "init_weights": True}
ARGUMENTS: dict[str, dict[str, Any]] = {"googlenet": _NO_AUXILIARY, "inception_v3": _NO_AUXILIARY}


def torchvision_names() -> list[str]:
    """The names of torchvision's classification models."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build_model(
    arch: str,
    num_classes: int,
    *,
    use_blurpool: bool,
    stochastic_depth: float = -1.0,
    dropout: float = -1.0,
    zero_init: bool = False,
) -> nn.Module:
    """A newly initialised network with `num_classes` outputs, on the CPU: (n, 3, h, w) -> logits (n, num_classes).

    `stochastic_depth` is the probability of dropping the last residual block and `dropout` that of all dropout layers;
    negative values keep the network's own. `zero_init` starts residual branches at zero. None of them changes the names
    of weights. Raises UserError for an unknown network or an option that the network can't have.
    """
    model = _construct(arch, num_classes, dropout, stochastic_depth)
    if use_blurpool and apply_blurpool(model) == 0:
        raise UserError(f"training.use_blurpool: {arch} has no strided convolution to blur; drop the option")
    if zero_init and zero_init_residual(model) == 0:
        raise UserError(
            f"model.zero_init_residual: {arch} has no residual blocks of ResNet's; drop the option"
        )
    return model


def _construct(arch: str, num_classes: int, dropout: float, stochastic_depth: float) -> nn.Module:
    """The network with its dropout and stochastic depth."""
    if arch.startswith(from_timm.PREFIX):
        return from_timm.build(arch, num_classes, dropout=dropout, stochastic_depth=stochastic_depth)
    model = _by_name(arch, num_classes)
    if dropout >= 0 and set_dropout(model, dropout) == 0:
        raise UserError(f"model.dropout: {arch} has no dropout layer; drop the option")
    if stochastic_depth >= 0 and apply_stochastic_depth(model, stochastic_depth) == 0:
        raise UserError(f"model.stochastic_depth: {arch} has no residual blocks to skip; drop the option")
    return model


def set_dropout(model: nn.Module, share: float) -> int:
    """Set the probability of every dropout layer of `model` to `share`; returns the number of layers."""
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for layer in layers:
        layer.p = share
    return len(layers)


def _by_name(arch: str, num_classes: int) -> nn.Module:
    """One of our networks, or torchvision's."""
    if arch in MODELS.names():
        return MODELS[arch](num_classes)
    if arch not in torchvision_names():
        hint = nearest(arch, [*MODELS.names(), *torchvision_names()])
        ours = ", ".join(MODELS.names())
        raise UserError(
            f"model.arch: no network {arch!r}{hint}; torchvision's classification models, timm:NAME, or {ours}"
        )
    arguments = ARGUMENTS.get(arch, {})
    model: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **arguments)
    return model


def weights_note(arch: str, *, use_blurpool: bool) -> str:
    """One sentence on how to load weights saved for this network."""
    if arch in MODELS.names():
        return f"load with strict=True into engine.models.build.build_model({arch!r}, ...): {arch} is ours"
    if arch.startswith(from_timm.PREFIX):
        plain = f"timm.create_model({arch.removeprefix(from_timm.PREFIX)!r}, num_classes=...)"
    else:
        plain = f"torchvision.models.{arch}" + ("(aux_logits=False)" if arch in ARGUMENTS else "")
    if not use_blurpool:
        return f"load with strict=True into {plain}"
    return (
        f"load with strict=True into {plain}, but were trained with BlurPool (constant filters, no weights): "
        f"the plain model lacks them and scores lower; use engine.models.build.build_model(use_blurpool=True)"
    )
