"""LAMB (You et al. 2019, algorithm 2): Adam with a step length proportional to the norm of the layer's weights."""

import math
from typing import Any

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.train.optimizers.optimizer import Groups


class Lamb(torch.optim.Optimizer):
    """w <- w - lr |w| u / |u| for each layer, where u is Adam's update plus decay x w.

    As in NVIDIA's and timm's code, undecayed parameters (norms, biases) take Adam's plain step. Those also clip the
    gradients to norm 1 by default; here that is training.clip_norm. All weights of a group are updated at once, except
    for the multiplication by each layer's ratio, which is a kernel each on a GPU: foreach takes different factors from
    the host only.
    """

    def __init__(self, groups: Groups, *, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": 0.0, "betas": betas, "eps": eps, "step": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                group["step"] += 1
                update = self._adam(group, weights)
                if group["weight_decay"]:
                    torch._foreach_add_(update, weights, alpha=group["weight_decay"])
                    torch._foreach_mul_(update, _trust(weights, update))
                torch._foreach_add_(weights, update, alpha=-group["lr"])

    def _adam(self, group: dict[str, Any], weights: list[torch.Tensor]) -> list[torch.Tensor]:
        """Adam's bias-corrected update for each weight, of the weight's shape."""
        beta1, beta2 = group["betas"]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
        means, squares = ([self.state[weight][key] for weight in weights] for key in ("mean", "square"))
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        spread = torch._foreach_sqrt(squares)
        torch._foreach_div_(spread, math.sqrt(1 - beta2 ** group["step"]))
        torch._foreach_add_(spread, group["eps"])
        torch._foreach_mul_(spread, 1 - beta1 ** group["step"])
        return list(torch._foreach_div(means, spread))


def _trust(weights: list[torch.Tensor], update: list[torch.Tensor]) -> list[torch.Tensor]:
    """|weights| / |update| of each layer; 1 where either is 0."""
    lengths, steps = (torch.stack(list(torch._foreach_norm(tensors))) for tensors in (weights, update))
    ratio = torch.where((lengths > 0) & (steps > 0), lengths / steps, 1.0)
    return list(ratio.unbind())


def build(groups: Groups, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Lamb with the recipe's betas and eps."""
    training = config.training
    return Lamb(groups, betas=(training.beta1, training.beta2), eps=training.eps)
