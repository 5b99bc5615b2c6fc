"""Sharpness-aware minimisation (Foret et al. 2020): a step along the gradient at the worst point near the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

# Keeps the climb finite where the gradient is 0, as in the authors' code.
_TINY = 1e-12


class Sam:
    """Climbs `rho` along the gradient in every `interval`-th step of `model`, which then costs two passes.

    The authors and Composer let each device climb along its own part's gradient. Here it is that of the global
    batch, so that a recipe is the same experiment on any number of devices and with any accumulation.
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
        """Whether step `number` of the run (from 0) is one with a climb: the last of each interval, as Composer's."""
        return (number + 1) % self.interval == 0

    @contextmanager
    def climbed(self) -> Iterator[None]:
        """Within: the weights are rho higher along their gradients, these are gone, and batch-norm statistics rest.

        On leaving the weights are what they were, to the bit.
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
        """Within: forward passes leave batch-norm statistics as they are."""
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
