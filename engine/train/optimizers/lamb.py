"""LAMB (You et al. 2019, algorithm 2): Adam whose step is as long as the layer's weights and learning rate say."""

import math
from collections.abc import Iterable
from typing import Any

import torch


class Lamb(torch.optim.Optimizer):
    """Each layer moves by lr x |weights| along the direction of Adam's step with the decay added.

    As in NVIDIA's and timm's, what is not decayed (norms, biases) takes Adam's plain step. They also clip the
    gradients to norm 1 by default; here that is training.clip_norm.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": 0.0, "betas": betas, "eps": eps, "step": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights by one step."""
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
        """Adam's bias-corrected direction for each weight."""
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
    """|weights| / |update| of each layer; 1 where one of them is 0."""
    lengths, steps = (torch.stack(list(torch._foreach_norm(tensors))) for tensors in (weights, update))
    ratio = torch.where((lengths > 0) & (steps > 0), lengths / steps, 1.0)
    return list(ratio.unbind())
