"""Who is decayed: decided by a parameter's role, so that a norm inside `downsample.1` is spared as well.

And every optimizer against its formula, in NumPy, over steps with a changing learning rate.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from engine.config.load import load_train_config
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig, TrainingConfig
from engine.errors import UserError
from engine.models.build import build_model
from engine.train.optimizers.muon import inner_convolutions
from engine.train.optimizers.optimizer import OPTIMIZERS, build_optimizer, decay_groups

Array = NDArray[np.float64]


def _recipe(**training: Any) -> TrainConfig:
    options = [f"--training.{key}={value}" for key, value in training.items()]
    return load_train_config(["--data.train_dataset=a", "--data.val_dataset=b", "--lr.lr=0.4", *options])[0]


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_b_16", "convnext_tiny"])
def test_norms_and_biases_are_spared_and_every_parameter_is_in_one_group(arch: str) -> None:
    model = build_model(arch, 10, use_blurpool=False)
    decayed, spared = (group["params"] for group in decay_groups(model, 1e-4))
    assert len(decayed) + len(spared) == len(list(model.parameters()))
    assert len({id(p) for p in [*decayed, *spared]}) == len(list(model.parameters()))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert not any(names[id(parameter)].endswith("bias") for parameter in decayed)


def test_the_norm_in_a_shortcut_is_spared() -> None:
    model = build_model("resnet50", 10, use_blurpool=True)
    spared = {id(parameter) for parameter in decay_groups(model, 1e-4)[1]["params"]}
    named = dict(model.named_parameters())
    assert id(named["layer2.0.downsample.1.weight"]) in spared
    assert id(named["layer2.0.downsample.0.weight"]) not in spared
    assert id(named["fc.weight"]) not in spared


def test_a_step_decays_weights_only() -> None:
    model = build_model("small_resnet", 3, use_blurpool=False)
    optimizer = build_optimizer(model, _recipe(weight_decay=0.5, momentum=0))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["conv1.weight"], before["conv1.weight"] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(after["bn1.weight"], before["bn1.weight"], rtol=0, atol=0)
    torch.testing.assert_close(after["fc.bias"], before["fc.bias"], rtol=0, atol=0)


def test_every_optimizer_can_be_chosen_and_no_other() -> None:
    assert sorted(options_of(TrainingConfig)["optimizer"].choices) == OPTIMIZERS.names()


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


@pytest.mark.parametrize("name", sorted({*OPTIMIZERS.names()} - {"muon"}))
def test_every_optimizer_is_its_formula(name: str) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    nesterov = name in ("sgd", "sgdw")
    config = _recipe(optimizer=name, weight_decay=0.05, nesterov=nesterov, beta2=0.95, eps=1e-6)
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


def test_lamb_moves_weights_of_zero_and_leaves_weights_without_gradient() -> None:
    net = nn.Linear(3, 2, bias=False)
    optimizer = build_optimizer(net, _recipe(optimizer="lamb", weight_decay=0.1))
    optimizer.param_groups[0]["lr"] = 0.1
    before = net.weight.detach().clone()
    optimizer.step()
    assert torch.equal(net.weight, before)
    net.weight.detach().zero_()
    net.weight.grad = torch.ones_like(net.weight)
    optimizer.step()
    torch.testing.assert_close(net.weight.detach(), torch.full((2, 3), -0.1))


def _newton_schulz(matrix: Array) -> Array:
    """The iteration as Jordan gives it, on the matrix itself."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x


def test_muon_is_its_formula_and_sgd_for_what_is_no_inner_convolution() -> None:
    torch.manual_seed(3)
    # One with fewer outputs than inputs, and one with more.
    convolutions = [nn.Conv2d(n, m, k, bias=False) for n, m, k in ((3, 4, 3), (4, 3, 2), (4, 7, 1))]
    net = nn.Sequential(*convolutions, nn.Linear(7, 5)).double()
    config = _recipe(optimizer="muon", muon_lr=0.1, weight_decay=0.05, nesterov=True)
    optimizer = build_optimizer(net, config)
    expected = {key: value.detach().numpy().copy() for key, value in net.named_parameters()}
    kept = {key: {"v": np.zeros_like(value)} for key, value in expected.items()}
    for step, lr in enumerate((0.1, 0.4, 0.25), start=1):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for key, weight in net.named_parameters():
            weight.grad = torch.randn_like(weight)
            gradient, w = weight.grad.numpy().copy(), expected[key]
            if key in ("1.weight", "2.weight"):
                matrix = _momentum(gradient, kept[key]).reshape(len(w), -1)
                wide = len(w) <= matrix.shape[1]
                update = _newton_schulz(matrix) if wide else _newton_schulz(matrix.T).T
                # A quarter of lr, which is 0.4 at its peak.
                w = w * np.sqrt(len(w)) / np.linalg.norm(w) - 0.25 * lr * update.reshape(w.shape)
                expected[key] = w
            else:
                decay = 0.05 if weight.ndim > 1 else 0.0
                expected[key] = _sgd(w, gradient, lr, step, decay, kept[key])
        optimizer.step()
    for key, weight in net.named_parameters():
        # Its quotient has 1e-7 in it.
        np.testing.assert_allclose(weight.detach().numpy(), expected[key], rtol=1e-5, err_msg=key)


def test_muon_takes_convolutions_before_a_norm_but_the_first_and_grouped_ones() -> None:
    for arch, count in (("resnet50", 52), ("small_resnet", 8), ("mobilenet_v2", 34)):
        model = build_model(arch, 10, use_blurpool=True)
        inner = inner_convolutions(model)
        assert len({id(weight) for weight in inner}) == len(inner) == count, arch
        assert all(weight.ndim == 4 and weight.shape[1] > 3 for weight in inner)


def test_muon_without_a_convolution_for_it_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="muon is for convolutions without a bias"):
        build_optimizer(nn.Linear(3, 2), _recipe(optimizer="muon"))


def test_muon_leaves_zeros_where_they_are_and_weights_without_gradient() -> None:
    zeros, without = (nn.Conv2d(4, 2, 1, bias=False) for _ in range(2))
    optimizer = build_optimizer(nn.Sequential(zeros, without), _recipe(optimizer="muon"))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = without.weight.detach().clone()
    zeros.weight.detach().zero_()
    zeros.weight.grad = torch.zeros_like(zeros.weight)
    optimizer.step()
    assert torch.equal(without.weight, before)
    assert not zeros.weight.any()
