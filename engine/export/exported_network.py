"""The network as an export takes it: a copy in plain memory order, with its preprocessing in front where asked for."""

import copy
from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.export.in_graph import InGraph
from engine.export.target import Settings
from engine.models.blurpool import BlurConv2d
from engine.predict.trained import Trained

# Two images, and sides that differ: torch.export takes a 1, or two equal numbers, for a constant.
_IMAGES, _HEIGHT, _WIDTH = 2, 50, 61


def plain_network(trained: Trained) -> nn.Module:
    """The network alone, in eval mode on the CPU: float32 (n, 3, h, w) -> logits (n, classes)."""
    model = copy.deepcopy(trained.model).cpu().to(memory_format=torch.contiguous_format)
    for part in model.modules():
        if isinstance(part, BlurConv2d):
            part.by_triton = False
    model.requires_grad_(False)
    return model.eval()


def whole_network(trained: Trained, settings: Settings) -> nn.Module:
    """`plain_network`, or with `with_preprocessing` of uint8 images (n, height, width, 3)."""
    network = plain_network(trained)
    if not settings.with_preprocessing:
        return network
    return nn.Sequential(InGraph(trained.card.preprocessing), network).eval()


def example_input(trained: Trained, *, with_preprocessing: bool) -> torch.Tensor:
    """A batch of the shape and type that the network takes; zeros."""
    if with_preprocessing:
        return torch.zeros(_IMAGES, _HEIGHT, _WIDTH, 3, dtype=torch.uint8)
    side = trained.card.preprocessing.resolution
    return torch.zeros(_IMAGES, 3, side, side)


def exported_program(
    network: nn.Module, trained: Trained, settings: Settings, *, with_preprocessing: bool
) -> torch.export.ExportedProgram:
    """The network as torch.export traces it; the number of images may vary, and height and width where asked for.

    Raises UserError for a network that can't be traced, or not with these sides.
    """
    auto = torch.export.Dim.DYNAMIC
    varying: dict[int, Any] = {0: auto}
    if with_preprocessing:
        varying |= {1: auto, 2: auto}
    elif settings.dynamic:
        varying |= {2: auto, 3: auto}
    example = example_input(trained, with_preprocessing=with_preprocessing)
    try:
        return torch.export.export(network, (example,), dynamic_shapes=(varying,))
    except Exception as error:  # noqa: BLE001 - torch.export raises whatever a network drives it into
        raise UserError(cannot_export(trained, "torch.export", error, dynamic=settings.dynamic)) from None


def cannot_export(trained: Trained, by: str, error: Exception, *, dynamic: bool = False) -> str:
    """One line on an exporter that failed on this network."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    way = "drop --dynamic" if dynamic else "choose another --to"
    return f"{trained.path}: {by} can't export {trained.card.arch}: {said}; {way}"
