"""Stochastic gradient descent with momentum, torch's; weight decay is added to the gradient."""

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.train.optimizers.optimizer import Groups


def build(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """v <- momentum v + (g + decay w); w <- w - lr v, or w - lr (g + decay w + momentum v) with Nesterov."""
    training = config.training
    return torch.optim.SGD(groups, lr=0.0, momentum=training.momentum, nesterov=training.nesterov, fused=True)
