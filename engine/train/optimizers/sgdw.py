"""SGD with decoupled weight decay (Loshchilov and Hutter 2017, algorithm 1), in Composer's form."""

from typing import Any

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.train.optimizers.optimizer import Groups


class DecoupledSGD(torch.optim.SGD):
    """w <- (1 - lr / peak_lr x weight_decay) w, then SGD's step without decay.

    The decay follows the schedule but not the peak learning rate, and does not pass through the momentum.
    """

    def __init__(self, groups: Groups, *, peak_lr: float, momentum: float, nesterov: bool) -> None:
        own = [
            {"params": group["params"], "decay": group["weight_decay"], "peak_lr": peak_lr}
            for group in groups
        ]
        super().__init__(own, lr=0.0, momentum=momentum, nesterov=nesterov, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the weights; leaves them unchanged where `found_inf` is 1, as a gradient scaler sets it."""
        found_inf = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            share: Any = group["lr"] / group["peak_lr"] * group["decay"]
            if not weights or not share:
                continue
            if found_inf is not None:
                share = share * (1 - found_inf)
            torch._foreach_mul_(weights, 1 - share)
        super().step()


def build(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """DecoupledSGD whose peak learning rate is lr.lr."""
    training = config.training
    return DecoupledSGD(groups, peak_lr=config.lr.lr, momentum=training.momentum, nesterov=training.nesterov)
