"""A network by name: ours from the registry, else any classification model of torchvision."""

from collections.abc import Callable

import torchvision
from torch import nn

from engine.errors import UserError
from engine.models.blurpool import apply_blurpool
from engine.models.small import SmallResNet
from engine.registry import Registry, nearest

MODELS: Registry[Callable[[int], nn.Module]] = Registry("model.arch")
MODELS.register("small_resnet")(SmallResNet)


def build_model(arch: str, num_classes: int, *, use_blurpool: bool) -> nn.Module:
    """A freshly initialised network with `num_classes` outputs, on the CPU.

    Raises UserError when there is no such network, or BlurPool is asked for and has nowhere to go.
    """
    torchvision_names = torchvision.models.list_models(module=torchvision.models)
    if arch in MODELS.names():
        model = MODELS[arch](num_classes)
    elif arch in torchvision_names:
        model = torchvision.models.get_model(arch, weights=None, num_classes=num_classes)
    else:
        hint = nearest(arch, [*MODELS.names(), *torchvision_names])
        ours = ", ".join(MODELS.names())
        raise UserError(
            f"model.arch: no network {arch!r}{hint}; torchvision's classification models, or {ours}"
        )
    if use_blurpool and apply_blurpool(model) == 0:
        raise UserError(f"training.use_blurpool: {arch} has no strided convolution to blur; drop the option")
    return model


def weights_note(arch: str, *, use_blurpool: bool) -> str:
    """One sentence on where weights saved for this network load."""
    if arch in MODELS.names():
        return f"load with strict=True into engine.models.build.build_model({arch!r}, ...): {arch} is ours"
    plain = f"torchvision.models.{arch}"
    if not use_blurpool:
        return f"load with strict=True into {plain}"
    return (
        f"load with strict=True into {plain}, but were trained with BlurPool (constant filters, no weights): "
        f"the plain model lacks them and scores lower; use engine.models.build.build_model(use_blurpool=True)"
    )
