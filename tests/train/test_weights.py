"""Weights from files of many makers: ours, torchvision's, timm's, wrapped, averaged, with another classifier."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.config.load import load_train_config
from engine.data.beton.pair import ClassList
from engine.errors import UserError
from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.weights_file import classes_in, read_weights, with_classes
from engine.train.evaluation.evaluation_run import named_by_weights
from engine.train.weights import build_network, load_weights
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
    "numpy's numbers and paths in": lambda state: {
        "model": state,
        "best": np.float64(71.2),
        "history": np.arange(3.0),
        "args": argparse.Namespace(lr=np.float32(0.1), out=Path("/x")),
    },
    "numpy arrays": lambda state: {name: value.numpy() for name, value in state.items()},
    "net": lambda state: {"net": state, "acc": 93.0},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "Composer's": lambda state: {"state": {"model": _prefixed(state, "module.")}},
    "another key": lambda state: {"student": state, "step": 3},
    "Lightning's": lambda state: {"state_dict": _prefixed(state, "model."), "loops": {}},
    "Lightning's compiled": lambda state: {"state_dict": _prefixed(state, "model._orig_mod.")},
    "Lightning's with a loss": lambda state: {
        "state_dict": {**_prefixed(state, "net."), "criterion.weight": torch.ones(3)}
    },
    "MMPretrain's": lambda state: {
        "state_dict": {
            f"{'head' if name.startswith('fc') else 'backbone'}.{name}": value
            for name, value in state.items()
        }
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


def test_safetensors_files_load_by_any_name(tmp_path: Path) -> None:
    torch.manual_seed(1)
    saved, loaded = _model().state_dict(), _model()
    save_file(saved, tmp_path / "file.pt")
    load_weights(loaded, tmp_path / "file.pt")
    assert all(torch.equal(saved[name], value) for name, value in loaded.state_dict().items())


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    state = {**_prefixed(_model().state_dict(), "net."), "normalise.mean": torch.ones(3)}
    torch.save({"state_dict": state}, tmp_path / "file.pt")
    (note,) = load_weights(_model(), tmp_path / "file.pt")
    assert note.endswith("file.pt: left out what is beside the network, such as normalise.mean")


@pytest.mark.parametrize("form", ["parts", "keys"])
def test_one_of_several_networks_is_chosen_by_key(form: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    both = {"student": _model().state_dict(), "teacher": _zeros(_model())}
    parts = {**_prefixed(both["student"], "student."), **_prefixed(both["teacher"], "teacher.")}
    torch.save(parts if form == "parts" else {"nets": both}, tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"student.*teacher.*--model\.weights_key="):
        load_weights(_model(), tmp_path / "file.pt")
    loaded, key = _model(), "student" if form == "parts" else "nets.student"
    load_weights(loaded, tmp_path / "file.pt", key=key)
    assert all(torch.equal(both["student"][name], value) for name, value in loaded.state_dict().items())
    with pytest.raises(UserError, match=r"model\.weights_key: .* holds no weights under other; it has"):
        load_weights(_model(), tmp_path / "file.pt", key="other")


class FfcvBlurPool(nn.Module):
    """ffcv-imagenet's names: the convolution as `conv`, and the filter beside it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("blur_filter", (row[:, None] * row / 16).repeat(conv.in_channels, 1, 1, 1))


def test_blurpool_of_ffcv_imagenet_loads_or_names_its_option(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs, ours = _model(), build_model(ARCH, 6, use_blurpool=True)
    saved = {name: value.clone() for name, value in theirs.state_dict().items()}
    for name, module in ours.named_modules():
        if isinstance(module, BlurConv2d):
            parent, _, last = name.rpartition(".")
            setattr(theirs.get_submodule(parent), last, FfcvBlurPool(theirs.get_submodule(name)))  # type: ignore[arg-type]
    torch.save(_prefixed(theirs.state_dict(), "module."), tmp_path / "file.pt")
    load_weights(ours, tmp_path / "file.pt")
    assert all(torch.equal(saved[name], value) for name, value in ours.state_dict().items())
    with pytest.raises(UserError, match=r"with BlurPool, .* pass --training\.use_blurpool=true"):
        load_weights(_model(), tmp_path / "file.pt")
    other = {name: value * (2 if "blur_filter" in name else 1) for name, value in theirs.state_dict().items()}
    torch.save(other, tmp_path / "file.pt")
    with pytest.raises(UserError, match="blurs with another filter than ffcv-imagenet's"):
        load_weights(ours, tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (None, r"holds a torch\.nn\..*could run any code"),
    ],
)
def test_files_that_are_no_weights_say_what_they_are(
    data: bytes | None, message: str, tmp_path: Path
) -> None:
    if data is None:
        torch.save(nn.Linear(2, 2), tmp_path / "file.pt")
    else:
        (tmp_path / "file.pt").write_bytes(data)
    with pytest.raises(UserError, match=message):
        load_weights(_model(), tmp_path / "file.pt")


def test_weights_of_other_classes_are_refused(tmp_path: Path) -> None:
    state, path = _model(2).state_dict(), tmp_path / "file.pt"
    for content in (with_classes(state, ["cat", "dog"]), {"model": state, "classes": ["cat", "dog"]}):
        torch.save(content, path)
        assert classes_in(read_weights(path)) == ["cat", "dog"]
        assert load_weights(_model(2), path, classes=["cat", "dog"]) == []
        with pytest.raises(
            UserError, match=r"only in the weights: 'cat'; only in the data: 'eel'.*match_classes=false"
        ):
            load_weights(_model(2), path, classes=["dog", "eel"])
        assert load_weights(_model(2), path, classes=["dog", "eel"], reset_head=True) == []
        assert load_weights(_model(2), path) == []


def test_same_classes_in_another_order_are_taken_by_name(tmp_path: Path) -> None:
    """A class's output is the same, whatever the number that the data give it."""
    torch.manual_seed(0)
    first, second, images = _model(3).eval(), _model(3).eval(), torch.randn(2, 3, 16, 16)
    torch.save(with_classes(first.state_dict(), ["cat", "dog", "eel"]), tmp_path / "file.pt")
    (note,) = load_weights(second, tmp_path / "file.pt", classes=["eel", "cat", "dog"])
    assert "in another order: its outputs are taken by name" in note
    with torch.no_grad():
        assert torch.equal(second(images), first(images)[:, [2, 0, 1]])


def test_weights_without_class_names_are_noted(tmp_path: Path) -> None:
    torch.save(_model(2).state_dict(), tmp_path / "file.pt")
    (note,) = load_weights(_model(2), tmp_path / "file.pt", classes=["dog", "eel"])
    assert "does not name its classes" in note


def test_data_without_names_take_those_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    checkpoint_file.save(path, with_classes(_model(3).state_dict(), ["cat", "dog", "eel"]))
    # The last class has no image in the data.
    assert named_by_weights(ClassList(2, None), str(path)) == ClassList(3, ["cat", "dog", "eel"])
    assert named_by_weights(ClassList(4, None), str(path)) == ClassList(4, None)
    assert named_by_weights(ClassList(2, ["a", "b"]), str(path)) == ClassList(2, ["a", "b"])


def test_options_choose_entry_and_comparison_of_classes(tmp_path: Path) -> None:
    path, told = tmp_path / "file.pt", list[str]()
    content = {"student": _model(2).state_dict(), "teacher": _zeros(_model(2)), "classes": ["cat", "dog"]}
    torch.save(content, path)

    def build(*options: str) -> nn.Module:
        data = (
            "--data.train_dataset=t",
            "--data.val_dataset=v",
            f"--model.arch={ARCH}",
            f"--model.weights={path}",
        )
        config = load_train_config([*data, *options])[0]
        return build_network(config, 2, torch.device("cpu"), ["dog", "eel"], told.append)

    with pytest.raises(UserError, match=r"several keys, student, teacher: .*--model\.weights_key=student"):
        build("--model.match_classes=false")
    with pytest.raises(UserError, match="have different classes"):
        build("--model.weights_key=teacher")
    built = build("--model.weights_key=teacher", "--model.match_classes=false")
    assert not any(value.any() for value in built.state_dict().values()) and told == []


def test_class_names_leave_a_plain_state_dict(tmp_path: Path) -> None:
    checkpoint_file.save(tmp_path / "file.pt", with_classes(_model(2).state_dict(), ["cat", "dog"]))
    found = torch.load(tmp_path / "file.pt", weights_only=True)
    _model(2).load_state_dict(found, strict=True)
    assert found.class_names == ["cat", "dog"] and all(
        isinstance(one, torch.Tensor) for one in found.values()
    )


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
