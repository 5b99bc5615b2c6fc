"""An exponential moving average (EMA) of a model's weights, kept as a second model."""

import copy

import torch
from torch import nn


class Ema:
    """Averages weights and batch-norm statistics, updated every `every` steps, with a half-life of `half_life` steps.

    W <- keep x W + (1 - keep) x weights with keep = 2^(-every / half_life), as in Composer. `model` is the average.
    """

    def __init__(self, model: nn.Module, *, half_life: float, every: int) -> None:
        self.every, self.keep = every, 2.0 ** (-every / half_life)
        # Its weights may ask for gradients as the model's do: then compiled code of one serves the other.
        self.model = copy.deepcopy(model).eval()
        pairs = [
            *zip(self.model.parameters(), model.parameters(), strict=True),
            *zip(self.model.buffers(), model.buffers(), strict=True),
        ]
        self._averaged = [(own, theirs) for own, theirs in pairs if own.is_floating_point()]
        self._counted = [(own, theirs) for own, theirs in pairs if not own.is_floating_point()]

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Call after step `number` of the run, counted from 0."""
        if (number + 1) % self.every:
            return
        torch._foreach_lerp_(
            [own for own, _ in self._averaged],
            [theirs.detach() for _, theirs in self._averaged],
            1 - self.keep,
        )
        if self._counted:
            torch._foreach_copy_([own for own, _ in self._counted], [theirs for _, theirs in self._counted])
