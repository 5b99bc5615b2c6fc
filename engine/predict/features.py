"""What the network knows of an image before its classifier: the classifier's input."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from engine.models.head import classifier_name


@contextmanager
def features_of(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects in the block, for each forward pass, the classifier's input: (n, features).

    Where the classifier is a convolution (SqueezeNet) or works on tokens, it is averaged over places.
    """
    seen: list[torch.Tensor] = []

    def note(_: nn.Module, given: tuple[Any, ...]) -> None:
        value: torch.Tensor = given[0].detach()
        if value.ndim == 4:
            value = value.mean((2, 3))
        elif value.ndim == 3:
            value = value.mean(1)
        seen.append(value)

    handle = model.get_submodule(classifier_name(model)).register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()
