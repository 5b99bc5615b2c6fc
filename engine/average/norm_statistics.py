"""Batch norm's running statistics computed anew, for weights that no step of training has seen.

As in Izmailov et al. 2018 (SWA): the mean of averaged weights' activations is not the average of their means. The
statistics are the mean over batches of each batch's mean and unbiased variance, as torch.optim.swa_utils.update_bn
computes them; unlike there all other layers (dropout, stochastic depth) stay in eval mode, as they are when the network
is used.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.train.step.precision import Precision


def norms_with_statistics(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms in `model` that keep running statistics."""
    modules = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return [module for module in modules if module.track_running_stats]


@torch.no_grad()
def recompute_statistics(model: nn.Module, batches: Iterable[torch.Tensor], precision: Precision) -> int:
    """Compute the statistics of `model` from batches of normalised images (n, 3, side, side), in place.

    Batches count alike and should be of one size. Leaves the model in eval mode; returns the number of images.
    """
    model.eval()
    norms = norms_with_statistics(model)
    before = [norm.momentum for norm in norms]
    images = 0
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            # None: the plain mean over the batches.
            norm.momentum = None
        for batch in batches:
            with precision.autocast():
                model(batch)
            images += len(batch)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        model.eval()
    return images
