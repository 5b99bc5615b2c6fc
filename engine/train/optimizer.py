"""The optimizer and who is decayed: decided by what a parameter is, not by what it is called."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from engine.config.schema import TrainingConfig

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two parameter groups: weights, decayed; vectors (biases) and all that belongs to a norm, not decayed."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            spare = isinstance(module, _NORMS) or parameter.ndim <= 1
            (spared if spare else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with momentum over the two groups; its learning rate is set before every step."""
    return torch.optim.SGD(
        decay_groups(model, training.weight_decay),
        lr=0.0,
        momentum=training.momentum,
        nesterov=training.nesterov,
        fused=True,
    )
