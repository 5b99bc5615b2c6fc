"""AdamW (Loshchilov and Hutter 2017), torch's: Adam with weight decay that is not part of the gradient."""

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.train.optimizers.optimizer import Groups


def build(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """w <- (1 - lr decay) w - lr m / (sqrt(s) + eps), with bias-corrected means m of g and s of g^2."""
    training = config.training
    return torch.optim.AdamW(
        groups, lr=0.0, betas=(training.beta1, training.beta2), eps=training.eps, fused=True
    )
