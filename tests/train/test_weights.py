"""Weights from files of many makers: ours, torchvision's, timm's, wrapped, averaged, with another classifier."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.errors import UserError
from engine.models.build import build_model
from engine.train.weights import load_weights, read_weights
from tests.train.conftest import train_here

Options = Callable[..., list[str]]
ARCH = "small_resnet"


def _model(num_classes: int = 6) -> nn.Module:
    return build_model(ARCH, num_classes, use_blurpool=False)


def _zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(value) for name, value in model.state_dict().items()}


def _prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


WRAPPERS: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, Any]]] = {
    "plain": lambda state: dict(state),
    "DistributedDataParallel's": lambda state: _prefixed(state, "module."),
    "torch.compile's in DistributedDataParallel's": lambda state: _prefixed(state, "module._orig_mod."),
    "torchvision's script's": lambda state: {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "timm's": lambda state: {
        "state_dict": state,
        "arch": "x",
        "args": argparse.Namespace(lr=0.1),
        "metric": 1.0,
    },
}
AVERAGES: dict[str, Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], dict[str, Any]]] = {
    "ours": lambda raw, average: {"model": raw, "ema": average, "epoch": 1},
    "timm's": lambda raw, average: {"state_dict": raw, "state_dict_ema": _prefixed(average, "module.")},
    "torchvision's script's": lambda raw, average: {
        "model": raw,
        "model_ema": {"n_averaged": torch.tensor(5), **_prefixed(average, "module.")},
    },
}


@pytest.mark.parametrize("maker", WRAPPERS)
def test_wrapped_weights_are_unwrapped(maker: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved, loaded = _model().state_dict(), _model()
    torch.save(WRAPPERS[maker](saved), tmp_path / "file.pt")
    load_weights(loaded, tmp_path / "file.pt")
    assert all(torch.equal(saved[name], value) for name, value in loaded.state_dict().items())


def test_weights_without_batch_counters_load(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved, loaded = _model().state_dict(), _model()
    stripped = {name: value for name, value in saved.items() if not name.endswith("num_batches_tracked")}
    assert len(stripped) < len(saved)
    torch.save(stripped, tmp_path / "file.pt")
    load_weights(loaded, tmp_path / "file.pt")
    assert all(torch.equal(saved[name], value) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("maker", AVERAGES)
def test_use_ema_selects_the_averaged_weights(maker: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    raw, average = _model().state_dict(), _zeros(_model())
    torch.save(AVERAGES[maker](raw, average), tmp_path / "file.pt")
    for use_ema, expected in ((False, raw), (True, average)):
        found = read_weights(tmp_path / "file.pt", use_ema=use_ema)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("content", "use_ema", "message"),
    [
        ({"model": {"fc.weight": torch.zeros(2)}}, True, "holds no moving average; drop the option"),
        ({"ema": {"fc.weight": torch.zeros(2)}, "epoch": 3}, False, r"pass --model\.use_ema=true"),
        ({"epoch": 3}, False, "holds no weights: pass a file of weights"),
        ({}, False, "holds no weights"),
        ({0: torch.zeros(2), 1: torch.zeros(2)}, False, "holds no weights"),
    ],
)
def test_file_without_the_asked_weights_is_refused(
    content: dict[Any, Any], use_ema: bool, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(UserError, match=message):
        load_weights(_model(), tmp_path / "file.pt", use_ema=use_ema)


def test_other_class_count_is_refused_unless_head_is_reset(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved = _model(10).state_dict()
    torch.save(saved, tmp_path / "ten.pt")
    with pytest.raises(
        UserError, match=r"fc\.weight is \(10, 192\), not \(6, 192\).*--model\.reset_head=true"
    ):
        load_weights(_model(6), tmp_path / "ten.pt")
    model = _model(6)
    head = model.state_dict()["fc.weight"].clone()
    load_weights(model, tmp_path / "ten.pt", reset_head=True)
    assert torch.equal(model.state_dict()["fc.weight"], head)
    assert torch.equal(model.state_dict()["conv1.weight"], saved["conv1.weight"])


def test_torchvision_auxiliary_outputs_are_ignored(tmp_path: Path) -> None:
    model = build_model("googlenet", 4, use_blurpool=False)
    saved = {**model.state_dict(), "aux1.fc1.weight": torch.zeros(2, 2)}
    torch.save(saved, tmp_path / "file.pt")
    load_weights(model, tmp_path / "file.pt")


def test_train_only_head_changes_only_the_head(options: Options) -> None:
    _, first = train_here(options(training__epochs=1, lr__lr_peak_epoch=0, logging__name="first"))
    _, second = train_here(
        options(training__epochs=1, lr__lr_peak_epoch=0, model__weights=first / "checkpoints" / "last.pt",
                model__train_only="head", training__weight_decay=0.1, logging__name="second")
    )  # fmt: skip
    before, after = (torch.load(run / "weights.pt", weights_only=True) for run in (first, second))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    norm = {
        f"layers.2.bn2.{kind}"
        for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert changed == {"fc.weight", "fc.bias", *norm}
