"""Checks before training that a network accepts the image sizes of a run, without any arithmetic."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.func import functional_call

from engine.errors import UserError
from engine.without_compiler import without_compiler


def refuse_sides(model: nn.Module, arch: str, sides: Mapping[str, Iterable[int]]) -> None:
    """Try a batch of each image side (pixels), listed by the option that sets it; puts `model` into eval mode.

    Tensors on the meta device have shapes but no contents, so this needs no memory and little time. Raises UserError
    for the first side that the network can't take; a vision transformer takes only one.
    """
    model.eval()
    state = {name: value.to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]}
    seen: set[int] = set()
    for option, several in sides.items():
        for side in several:
            if side not in seen and (reason := _refusal(model, state, side)):
                raise UserError(
                    f"model.arch: {arch} can't take images of {side} px ({reason}): change {option}"
                )
            seen.add(side)


def refuses_single_images(model: nn.Module, side: int) -> str:
    """One line on why `model`, in its present mode, can't take one image of `side` pixels alone; empty if it can.

    In training, batch norm needs more than one value of each channel.
    """
    state = {name: value.to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]}
    return _refusal(model, state, side, images=1)


def _refusal(model: nn.Module, state: dict[str, torch.Tensor], side: int, images: int = 2) -> str:
    """One line on why so many images of `side` pixels don't fit; empty if they do."""
    batch = torch.empty(images, 3, side, side, device="meta")
    try:
        with torch.no_grad(), without_compiler():
            functional_call(model, state, (batch,))
    except NotImplementedError:
        # A network that branches on values can't be tried without any.
        return ""
    except (RuntimeError, AssertionError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""
