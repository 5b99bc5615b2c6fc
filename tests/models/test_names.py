"""Every network that can be named: torchvision's all, timm's where it is installed; and the image sides they take."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from engine.errors import UserError
from engine.models.build import build_model, torchvision_names
from engine.models.input_size import refuse_sides

# One of each family, the smallest; the rest take minutes.
FAMILIES = {
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32",
    "wide_resnet50_2",
}  # fmt: skip


@contextmanager
def without_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks built in here have shapes only. RegNet computes its widths with tensors, which need their values."""
    params = torchvision.models.regnet.BlockParams
    compute = params.from_init_params

    def on_the_cpu(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):
            return compute(*args, **kwargs)

    monkeypatch.setattr(params, "from_init_params", on_the_cpu)
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(
    "arch",
    [pytest.param(name, marks=[] if name in FAMILIES else pytest.mark.slow) for name in torchvision_names()],
)
def test_every_torchvision_classifier_is_built_by_name(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_memory(monkeypatch):
        model = build_model(arch, 10, use_blurpool=False)
        # In training, where the auxiliary outputs of some would be a tuple.
        assert model.train()(torch.zeros(2, 3, 224, 224)).shape == (2, 10)


def test_quick_networks_include_every_torchvision_family() -> None:
    modules = {torchvision.models.get_model_builder(name).__module__ for name in torchvision_names()}
    assert {torchvision.models.get_model_builder(name).__module__ for name in FAMILIES} == modules


@pytest.mark.parametrize(
    ("arch", "side", "reason"),
    [
        ("vit_b_32", 192, "Expected 224"),
        ("alexnet", 32, "too small"),
        ("inception_v3", 64, "Kernel size|Output size"),
    ],
)
def test_impossible_image_size_is_refused_with_its_option(arch: str, side: int, reason: str) -> None:
    with torch.device("meta"):
        model = build_model(arch, 10, use_blurpool=False)
    expected = rf"{arch} can't take images of {side} px \(.*({reason}).*\): change validation\.resolution"
    with pytest.raises(UserError, match=expected):
        refuse_sides(model, arch, {"section resolution": [224], "validation.resolution": [224, side]})


def test_trying_image_sizes_leaves_the_network_unchanged() -> None:
    model = build_model("small_resnet", 10, use_blurpool=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refuse_sides(model, "small_resnet", {"section resolution": [32, 64]})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_missing_timm_is_one_error_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm:resnet50 needs timm, which is not installed"):
        build_model("timm:resnet50", 10, use_blurpool=False)


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k"])
def test_timm_networks_keep_timms_weight_names(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        ours = build_model(f"timm:{name}", 10, use_blurpool=False)
        theirs: nn.Module = timm.create_model("resnet18", num_classes=10)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


def test_unknown_timm_network_is_refused_with_the_nearest() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UserError, match=r"has no network 'convnext_tny' \(did you mean 'convnext_tiny'"):
        build_model("timm:convnext_tny", 10, use_blurpool=False)
