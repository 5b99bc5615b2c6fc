"""The recipe's optimizer over its parameter groups: weights are decayed, norms and biases are not.

Which parameter is decayed follows from the type of its module, not from its name.

Each optimizer is a file of this folder, named like its value of training.optimizer, with a function

    build(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer

and is registered in engine/config/choices.py. docs/extending/optimizer.md shows how to add one.
"""

from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from engine.config.train.train_config import TrainConfig
from engine.devices import is_gpu
from engine.without_compiler import built_without_compiler

Groups = list[dict[str, Any]]
"""Parameter groups as torch.optim takes them: `params` and `weight_decay` of each."""

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def decay_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Two parameter groups of `model`: decayed weights, then undecayed vectors (biases) and parameters of norms."""
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


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that `config` names, over the groups of `decay_groups`, with a learning rate of 0.

    The training step sets the learning rate of every group before each step.
    """
    module = import_module(f"{__package__}.{config.training.optimizer.replace('-', '_')}")
    groups = decay_groups(model, config.training.weight_decay)

    def build() -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = module.build(groups, model, config)
        return optimizer

    # Where a GPU compiles the network, the compiler is imported anyway.
    on_cpu = not any(is_gpu(weight.device) for weight in model.parameters())
    return built_without_compiler(build) if on_cpu else build()
