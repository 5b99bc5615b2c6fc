"""Weights from files of many makers give one network; what can't be read says why in one line."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from engine.errors import UserError
from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model
from engine.predict.file_card import Given
from engine.predict.trained import load_trained

ARCH = "small_resnet"
State = dict[str, torch.Tensor]


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def _zeros(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def _ffcv_names(state: State) -> State:
    """As ffcv-imagenet's own script saves a network with its BlurPool, in DistributedDataParallel."""
    row = torch.tensor([1.0, 2.0, 1.0])
    blurred = {
        name: module
        for name, module in build_model(ARCH, 3, use_blurpool=True).named_modules()
        if isinstance(module, BlurConv2d)
    }
    renamed = {}
    for name, value in state.items():
        module = name.removesuffix(".weight")
        if module in blurred:
            renamed[f"{module}.blur_filter"] = (row[:, None] * row / 16).repeat(value.shape[1], 1, 1, 1)
            renamed[f"{module}.conv.weight"] = value
        else:
            renamed[name] = value
    return _prefixed("module.", renamed)


FORMS: dict[str, tuple[Callable[[State], dict[str, Any]], bool | None, Given]] = {
    "plain": (dict, None, Given(arch=ARCH)),
    "half precision": (
        lambda state: {name: value.half() for name, value in state.items()},
        None,
        Given(arch=ARCH),
    ),
    "DistributedDataParallel": (lambda state: _prefixed("module.", state), None, Given(arch=ARCH)),
    "compiled": (lambda state: _prefixed("_orig_mod.", state), None, Given(arch=ARCH)),
    "torch's example": (
        lambda state: {
            "arch": ARCH,
            "state_dict": _prefixed("module.", state),
            "epoch": 90,
            "best_acc1": 76.1,
        },
        None,
        Given(),
    ),
    "torchvision's script": (
        lambda state: {"model": state, "args": argparse.Namespace(model=ARCH), "model_ema": _zeros(state)},
        None,
        Given(),
    ),
    "torchvision's script, average": (
        lambda state: {
            "model": _zeros(state),
            "args": argparse.Namespace(model=ARCH),
            "model_ema": {"n_averaged": torch.tensor(5), **_prefixed("module.", state)},
        },
        True,
        Given(),
    ),
    "timm's script, average": (
        lambda state: {"state_dict": _zeros(state), "state_dict_ema": state, "arch": ARCH},
        True,
        Given(),
    ),
    "only an average": (lambda state: {"ema_state_dict": state}, None, Given(arch=ARCH)),
    "ours, average": (
        lambda state: {"model": _zeros(state), "ema": state, "epoch": 3},
        True,
        Given(arch=ARCH),
    ),
    "Lightning": (lambda state: {"state_dict": _prefixed("model.", state)}, None, Given(arch=ARCH)),
    "Lightning with an average beside": (
        lambda state: {
            "state_dict": {**_prefixed("model.", _zeros(state)), **_prefixed("ema.module.", state)}
        },
        None,
        Given(arch=ARCH, key="state_dict.ema.module"),
    ),
    "ffcv-imagenet": (_ffcv_names, None, Given(arch=ARCH)),
}


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(3)
    return build_model(ARCH, 3, use_blurpool=False).state_dict()


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_every_form_are_the_same(form: str, state: State, tmp_path: Path) -> None:
    wrap, averaged, given = FORMS[form]
    torch.save(wrap(state), tmp_path / "x.pt")
    found = load_trained(tmp_path / "x.pt", device="cpu", averaged=averaged, given=given)
    tolerance = 1e-3 if form == "half precision" else 0
    for name, value in found.model.state_dict().items():
        assert torch.allclose(value.float(), state[name].float(), atol=tolerance, rtol=0), name
    assert found.card.num_classes == 3
    assert found.card.use_blurpool == (form == "ffcv-imagenet")


def test_safetensors_of_lightning_names_load(state: State, tmp_path: Path) -> None:
    save_file(_prefixed("model.", state), tmp_path / "x.safetensors")
    found = load_trained(tmp_path / "x.safetensors", device="cpu", given=Given(arch=ARCH))
    assert torch.equal(found.model.state_dict()["fc.weight"], state["fc.weight"])


def test_torchvision_file_is_known_by_its_name(tmp_path: Path) -> None:
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), tmp_path / Path(weights.url).name)
    found = load_trained(tmp_path / Path(weights.url).name, device="cpu")
    assert (found.card.arch, found.names[0], found.ids[0]) == ("shufflenet_v2_x0_5", "tench", "0")
    asked = found.card.preprocessing
    assert (asked.resolution, asked.ratio, asked.crop_law) == (224, 0.875, "torchvision")


@pytest.mark.slow
def test_timm_folder_is_known_by_its_config(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("mobilenetv3_small_050", num_classes=7)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"input_size": [3, 192, 192], "crop_pct": 0.95, "mean": [0.5] * 3, "std": [0.5] * 3}
    text = json.dumps({"architecture": "mobilenetv3_small_050", "num_classes": 7, "pretrained_cfg": config})
    (tmp_path / "config.json").write_text(text)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        found = load_trained(path, device="cpu")
        assert (found.card.arch, found.card.num_classes) == ("timm:mobilenetv3_small_050", 7)
        asked = found.card.preprocessing
        assert (asked.resolution, asked.ratio, asked.mean) == (192, 0.95, [0.5] * 3)


@pytest.mark.slow
def test_name_that_two_libraries_have_goes_by_the_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("efficientnet_b0", num_classes=4)
    torch.save(theirs.state_dict(), tmp_path / "x.pt")
    found = load_trained(tmp_path / "x.pt", device="cpu", given=Given(arch="efficientnet_b0"))
    assert found.card.arch == "timm:efficientnet_b0"


@pytest.mark.parametrize(
    ("content", "given", "words"),
    [
        ({"epoch": 3}, Given(arch=ARCH), "holds no weights"),
        (
            nn.Linear(2, 2),
            Given(arch=ARCH),
            r"could run any code; .* save the network's state_dict\(\) alone",
        ),
        ({"backbone.weight": torch.zeros(2)}, Given(arch=ARCH), r"lacks fc\.weight; check --arch"),
        # It asks timm too, whose import takes seconds.
        pytest.param(
            {"backbone.weight": torch.zeros(2)},
            Given(arch="resnet5000"),
            r"--arch: no network 'resnet5000'",
            marks=pytest.mark.slow,
        ),
        ({"fc.weight": torch.zeros(3, 4)}, Given(arch=ARCH), r"does not fit this network: .*check --arch"),
    ],
)
def test_what_can_not_be_read_says_why(content: Any, given: Given, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=words) as caught:
        load_trained(tmp_path / "x.pt", device="cpu", given=given)
    assert "\n" not in str(caught.value) and "model." not in str(caught.value)


def test_card_of_another_network_is_not_overruled(run: Path) -> None:
    with pytest.raises(UserError, match="is of small_resnet, and --arch says resnet18: leave out --arch"):
        load_trained(run, device="cpu", given=Given(arch="resnet18"))
