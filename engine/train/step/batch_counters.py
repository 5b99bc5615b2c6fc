"""Batch norms' counters, `num_batches_tracked`: increased for all norms at once.

torch adds 1 to each norm's counter within its forward pass: 53 kernels of a few bytes in ResNet-50, compiled or not. No
norm with a fixed momentum reads its counter, so one call after the pass does the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchCounters:
    """The counters of `model`'s batch norms. Each norm takes part in a forward pass once."""

    def __init__(self, model: nn.Module) -> None:
        norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
        self._norms = [norm for norm in norms if _can_wait(norm)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """For one forward pass: its norms leave their counters, which are increased at the end, unless it fails."""
        # SAM's second pass is not counted, nor are norms that are frozen.
        norms = [norm for norm in self._norms if norm.training and norm.track_running_stats]
        counters = [cast(torch.Tensor, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.num_batches_tracked = None
        try:
            yield
        finally:
            for norm, counter in zip(norms, counters, strict=True):
                norm.num_batches_tracked = counter
        if counters:
            torch._foreach_add_(counters, 1)


def _can_wait(norm: _BatchNorm) -> bool:
    """Whether torch lets `norm` have no counter for a while, and it does not average with it."""
    # SyncBatchNorm insists on its counter; without a momentum the average is one over all batches counted.
    return (
        norm.num_batches_tracked is not None
        and norm.momentum is not None
        and not isinstance(norm, nn.SyncBatchNorm)
    )
