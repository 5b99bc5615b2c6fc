"""Optimizers against their published formulas, in NumPy, over steps with a changing learning rate."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from engine.train.optimizers.optimizer import build_optimizer
from tests.train.steps import recipe

Array = NDArray[np.float64]

# One step each: (weight, gradient, learning rate, number of the step from 1, decay, what is kept) -> weight


def _sgd(w: Array, g: Array, lr: float, t: int, decay: float, kept: dict[str, Array]) -> Array:
    return w - lr * _momentum(g + decay * w, kept)


def _sgdw(w: Array, g: Array, lr: float, t: int, decay: float, kept: dict[str, Array]) -> Array:
    return w * (1 - lr / 0.4 * decay) - lr * _momentum(g, kept)


def _momentum(g: Array, kept: dict[str, Array]) -> Array:
    kept["v"] = 0.9 * kept["v"] + g
    return g + 0.9 * kept["v"]


def _adam(g: Array, t: int, kept: dict[str, Array]) -> Array:
    kept["m"] = 0.9 * kept["m"] + 0.1 * g
    kept["s"] = 0.95 * kept["s"] + 0.05 * g**2
    return (kept["m"] / (1 - 0.9**t)) / (np.sqrt(kept["s"] / (1 - 0.95**t)) + 1e-6)


def _adamw(w: Array, g: Array, lr: float, t: int, decay: float, kept: dict[str, Array]) -> Array:
    return w * (1 - lr * decay) - lr * _adam(g, t, kept)


def _lamb(w: Array, g: Array, lr: float, t: int, decay: float, kept: dict[str, Array]) -> Array:
    update = _adam(g, t, kept) + decay * w
    ratio = np.linalg.norm(w) / np.linalg.norm(update) if decay else 1.0
    return w - lr * ratio * update


FORMULAS: dict[str, Callable[..., Array]] = {"sgd": _sgd, "sgdw": _sgdw, "adamw": _adamw, "lamb": _lamb}


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_match_the_published_formula(name: str) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    nesterov = name in ("sgd", "sgdw")
    config = recipe(optimizer=name, weight_decay=0.05, nesterov=nesterov, beta2=0.95, eps=1e-6)
    optimizer = build_optimizer(net, config)
    expected = {key: value.detach().numpy().copy() for key, value in net.named_parameters()}
    kept = {key: {part: np.zeros_like(value) for part in "vms"} for key, value in expected.items()}
    for step, lr in enumerate((0.1, 0.4, 0.25), start=1):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for key, weight in net.named_parameters():
            weight.grad = torch.randn_like(weight)
            decay = 0.05 if weight.ndim > 1 else 0.0
            gradient = weight.grad.numpy().copy()
            expected[key] = FORMULAS[name](expected[key], gradient, lr, step, decay, kept[key])
        optimizer.step()
    for key, weight in net.named_parameters():
        np.testing.assert_allclose(weight.detach().numpy(), expected[key], rtol=1e-9, err_msg=key)


def test_lamb_zero_weights_take_adams_plain_step() -> None:
    net = nn.Linear(3, 2, bias=False)
    optimizer = build_optimizer(net, recipe(optimizer="lamb", weight_decay=0.1))
    optimizer.param_groups[0]["lr"] = 0.1
    net.weight.detach().zero_()
    net.weight.grad = torch.ones_like(net.weight)
    optimizer.step()
    torch.testing.assert_close(net.weight.detach(), torch.full((2, 3), -0.1))
