"""Sharpness-aware minimisation (SAM, Foret et al. 2020): the gradient is taken at the worst point near the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

# Avoids a division by 0 where the gradient is 0, as in the authors' code.
_TINY = 1e-12


class Sam:
    """Ascends by `rho` along the gradient in every `interval`-th step of `model`, which then costs two passes.

    The authors and Composer ascend along the gradient of each device's part of the batch. Here it is the gradient of
    the global batch, so that a recipe is the same experiment on any number of devices and with any accumulation.
    """

    def __init__(self, model: nn.Module, *, rho: float, interval: int) -> None:
        self.rho, self.interval = rho, interval
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._norms = [
            module
            for module in model.modules()
            if isinstance(module, _NormBase) and module.track_running_stats
        ]

    def climbs(self, number: int) -> bool:
        """Whether step `number` of the run (from 0) ascends: the last of each interval does, as in Composer."""
        return (number + 1) % self.interval == 0

    @contextmanager
    def climbed(self) -> Iterator[None]:
        """Within the block the weights are moved by rho along their gradients, the gradients are cleared, and
        batch-norm statistics do not change. Afterwards the weights have their old values, to the bit.
        """
        weights: list[torch.Tensor] = [weight for weight in self._weights if weight.grad is not None]
        before = [weight.detach().clone() for weight in weights]
        self._climb(weights)
        try:
            with self.resting():
                yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, before)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within the block forward passes leave batch-norm statistics unchanged."""
        for norm in self._norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in self._norms:
                norm.track_running_stats = True

    @torch.no_grad()
    def _climb(self, weights: list[torch.Tensor]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        length = nn.utils.get_total_norm(gradients)
        torch._foreach_add_(weights, list(torch._foreach_mul(gradients, self.rho / (length + _TINY))))
        for weight in weights:
            weight.grad = None
