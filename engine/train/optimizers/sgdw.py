"""SGD whose weight decay is no part of the gradient (Loshchilov and Hutter 2017, in Composer's form)."""

from collections.abc import Iterable
from typing import Any

import torch


class DecoupledSGD(torch.optim.SGD):
    """A step takes the share `lr / peak_lr x weight_decay` of each weight away, and then SGD's own step follows.

    So the decay follows the schedule, but not the peak learning rate, and does not pass through the momentum.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, peak_lr: float, momentum: float, nesterov: bool
    ) -> None:
        own = [
            {"params": group["params"], "decay": group["weight_decay"], "peak_lr": peak_lr}
            for group in groups
        ]
        super().__init__(own, lr=0.0, momentum=momentum, nesterov=nesterov, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights; with `found_inf` set to 1, as a gradient scaler does, leave them as they are."""
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
