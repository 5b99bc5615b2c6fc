"""Networks by name, BlurPool surgery, and that saved weights fit the plain torchvision model."""

import pytest
import torch
import torchvision
from antialiased_cnns import BlurPool
from torch import nn

from engine.errors import UserError
from engine.models.blurpool import BlurConv2d, apply_blurpool
from engine.models.build import build_model, weights_note


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "small_resnet"])
def test_weight_names_are_the_same_with_blurpool(arch: str) -> None:
    plain = build_model(arch, 7, use_blurpool=False)
    blurred = build_model(arch, 7, use_blurpool=True)
    plain.load_state_dict(blurred.state_dict(), strict=True)


def test_blurpool_resnet50_loads_into_torchvision() -> None:
    ours = build_model("resnet50", 1000, use_blurpool=True)
    torchvision.models.resnet50(weights=None).load_state_dict(ours.state_dict(), strict=True)


def test_blurpool_replaces_each_strided_convolution_but_the_stem() -> None:
    model = build_model("resnet50", 10, use_blurpool=True)
    blurred = {name for name, module in model.named_modules() if isinstance(module, BlurConv2d)}
    expected = {f"layer{stage}.0.{part}" for stage in (2, 3, 4) for part in ("conv2", "downsample.0")}
    assert blurred == expected


def test_blurred_convolution_matches_antialiased_cnns() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 8, 3, stride=2, padding=1, bias=False)
    reference = nn.Sequential(BlurPool(16, pad_type="zero", filt_size=3, stride=1), conv)
    holder = nn.Sequential(conv)
    assert apply_blurpool(holder) == 1
    images = torch.randn(2, 16, 11, 14)
    torch.testing.assert_close(holder(images), reference(images))


def test_blurpool_changes_the_output() -> None:
    torch.manual_seed(0)
    plain = build_model("small_resnet", 5, use_blurpool=False).eval()
    blurred = build_model("small_resnet", 5, use_blurpool=True).eval()
    blurred.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 28, 28)
    assert not torch.allclose(plain(images), blurred(images))


@pytest.mark.parametrize(
    ("arch", "size"),
    [("small_resnet", 8), ("small_resnet", 24), ("small_resnet", 33), ("small_resnet", 64)]
    + [(arch, size) for arch in ("resnet9", "resnet18_32px") for size in (8, 33)],
)
def test_own_networks_take_small_images_of_any_size(arch: str, size: int) -> None:
    model = build_model(arch, 5, use_blurpool=arch != "resnet9").eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_unknown_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no network 'resnet5o'.*resnet50"):
        build_model("resnet5o", 10, use_blurpool=False)


def test_segmentation_network_is_refused() -> None:
    with pytest.raises(UserError, match="no network"):
        build_model("fcn_resnet50", 10, use_blurpool=False)


def test_blurpool_without_strided_convolutions_is_refused() -> None:
    with pytest.raises(UserError, match="no strided convolution"):
        build_model("vgg11", 10, use_blurpool=True)


def test_weights_note_mentions_blurpool() -> None:
    assert "BlurPool" in weights_note("resnet50", use_blurpool=True)
    assert "BlurPool" not in weights_note("resnet50", use_blurpool=False)
    assert "is ours" in weights_note("small_resnet", use_blurpool=True)
    assert "torchvision.models.googlenet(aux_logits=False)" in weights_note("googlenet", use_blurpool=False)


def test_32px_resnet_differs_from_torchvision_only_in_its_stem() -> None:
    ours, theirs = (
        {name: value.shape for name, value in model.state_dict().items()}
        for model in (build_model("resnet18_32px", 10, use_blurpool=False), torchvision.models.resnet18())
    )
    different = {name for name in theirs if ours[name] != theirs[name]}
    assert ours.keys() == theirs.keys()
    assert different == {"conv1.weight", "fc.weight", "fc.bias"}
    assert ours["conv1.weight"] == (64, 3, 3, 3)


def test_resnet9_has_pages_parameter_count() -> None:
    # His eight convolutions and classifier, and two numbers for each channel's norm.
    convs = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
    expected = sum(9 * before * after + 2 * after for before, after in convs) + 512 * 10
    model = build_model("resnet9", 10, use_blurpool=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
