"""Muon (Jordan et al. 2024) in the form that holds the CIFAR-10 speed records: orthogonal steps for convolutions."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_ITERATIONS = 5
# Jordan's, of the quintic iteration x -> a x + b x^3 + c x^5: they take singular values quickly to about 0.7 to 1.2.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_IMAGE_CHANNELS = 3


def inner_convolutions(model: nn.Module) -> list[torch.Tensor]:
    """The weights that are Muon's, once each: of convolutions without a bias, which a norm follows by custom.

    It makes the length of such weights meaningless, which Muon relies on. Not of the convolution that sees the image,
    nor of grouped ones.
    """
    found = {
        id(module.weight): module.weight
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.bias is None
        and module.groups == 1
        and module.in_channels > _IMAGE_CHANNELS
    }
    return list(found.values())


class Muon(torch.optim.Optimizer):
    """Each of `inner`'s weights, as a matrix of a row for each output, goes along its momentum made orthogonal.

    Its length is brought back to the square root of the number of rows before, so that the learning rate is the share
    of it that a step takes. The other weights take SGD's step. The learning rate of the groups is theirs; that of
    `inner` follows it: `muon_lr` where it is `peak_lr`.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        inner: Iterable[torch.Tensor],
        *,
        peak_lr: float,
        muon_lr: float,
        momentum: float,
        nesterov: bool,
    ) -> None:
        mine = list(inner)
        ids = {id(weight) for weight in mine}
        rest = [
            {**group, "params": [weight for weight in group["params"] if id(weight) not in ids]}
            for group in groups
        ]
        own = {"params": mine, "weight_decay": 0.0, "lr_factor": muon_lr / peak_lr}
        defaults = {"lr": 0.0, "lr_factor": 0.0, "momentum": momentum, "nesterov": nesterov}
        super().__init__([*rest, own], defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights by one step."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            directions = self._momentum(group, weights)
            if group["lr_factor"]:
                _restore_lengths(weights)
                directions = [_orthogonal(direction) for direction in directions]
                torch._foreach_add_(weights, directions, alpha=-group["lr"] * group["lr_factor"])
            else:
                torch._foreach_add_(weights, directions, alpha=-group["lr"])

    def _momentum(self, group: dict[str, Any], weights: list[torch.Tensor]) -> list[torch.Tensor]:
        """SGD's direction for each weight, its decay included."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"momentum": torch.zeros_like(weight)}
        kept = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_mul_(kept, group["momentum"])
        torch._foreach_add_(kept, gradients)
        if group["nesterov"]:
            return list(torch._foreach_add(gradients, kept, alpha=group["momentum"]))
        return kept


def _restore_lengths(weights: list[torch.Tensor]) -> None:
    """Scale each to the length that as many orthogonal rows of length 1 have; one of zeros stays so."""
    lengths = torch.stack(list(torch._foreach_norm(weights)))
    wanted = torch.tensor([len(weight) ** 0.5 for weight in weights], dtype=lengths.dtype)
    wanted = wanted.to(lengths.device, non_blocking=True)
    factors = torch.where(lengths > 0, wanted / lengths, 1.0)
    torch._foreach_mul_(weights, list(factors.unbind()))


def _orthogonal(direction: torch.Tensor) -> torch.Tensor:
    """U V' of the direction's singular value decomposition U S V', nearly, by Newton-Schulz iterations.

    Each is a polynomial in the product of the matrix and its transpose, and all of them commute: so they are carried
    out on that product, whose side is the matrix's shorter one, and the matrix itself is multiplied at the end alone.
    """
    matrix = direction.flatten(1)
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    # Its largest singular value is at most 1 then.
    wide = wide / (wide.norm() + 1e-7)
    product = wide @ wide.T
    whole = step = _polynomial(product)
    for _ in range(_ITERATIONS - 1):
        product = step @ product @ step
        step = _polynomial(product)
        whole = step @ whole
    wide = whole @ wide
    made = wide.T if matrix.shape[0] > matrix.shape[1] else wide
    return made.reshape(direction.shape)


def _polynomial(product: torch.Tensor) -> torch.Tensor:
    """What an iteration multiplies its matrix x by, given x x'."""
    made = torch.addmm(product, product, product, beta=_CUBIC, alpha=_QUINTIC)
    made.diagonal().add_(_LINEAR)
    return made
