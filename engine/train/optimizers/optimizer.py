"""The optimizer and who is decayed: decided by what a parameter is, not by what it is called."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.registry import Registry
from engine.train.optimizers.lamb import Lamb
from engine.train.optimizers.muon import Muon, inner_convolutions
from engine.train.optimizers.sgdw import DecoupledSGD

Groups = list[dict[str, Any]]
OPTIMIZERS: Registry[Callable[[Groups, nn.Module, TrainConfig], torch.optim.Optimizer]] = Registry(
    "training.optimizer"
)

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def decay_groups(model: nn.Module, weight_decay: float) -> Groups:
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


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's optimizer over the two groups; its learning rate is set before every step."""
    groups = decay_groups(model, config.training.weight_decay)
    return OPTIMIZERS[config.training.optimizer](groups, model, config)


@OPTIMIZERS.register("sgd")
def _sgd(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    training = config.training
    return torch.optim.SGD(groups, lr=0.0, momentum=training.momentum, nesterov=training.nesterov, fused=True)


@OPTIMIZERS.register("sgdw")
def _sgdw(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    training = config.training
    return DecoupledSGD(groups, peak_lr=config.lr.lr, momentum=training.momentum, nesterov=training.nesterov)


@OPTIMIZERS.register("adamw")
def _adamw(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    training = config.training
    return torch.optim.AdamW(
        groups, lr=0.0, betas=(training.beta1, training.beta2), eps=training.eps, fused=True
    )


@OPTIMIZERS.register("lamb")
def _lamb(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    training = config.training
    return Lamb(groups, betas=(training.beta1, training.beta2), eps=training.eps)


@OPTIMIZERS.register("muon")
def _muon(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    training, inner = config.training, inner_convolutions(model)
    if not inner:
        raise UserError(
            f"training.optimizer muon is for convolutions without a bias, and {config.model.arch} has none behind its "
            "first: use another optimizer"
        )
    return Muon(
        groups,
        inner,
        peak_lr=config.lr.lr,
        muon_lr=training.muon_lr,
        momentum=training.momentum,
        nesterov=training.nesterov,
    )
