"""Grad-CAM: of the right part of a network, equal to its formula, and without traces in the network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional

from engine.cli.predict import main as predict
from engine.errors import EXIT_MISSED, UserError
from engine.models.build import build_model
from engine.predict.grad_cam import GradCam, cam, feature_map, overlay
from engine.predict.preprocess import Preprocessor
from engine.predict.trained import Trained, load_trained
from engine.runs.model_card import CARD_SCHEMA, ModelCard, Preprocessing
from tests.predict.conftest import card, save_run

SIDE = 32


def trained(model: nn.Module, classes: int, arch: str = "made", side: int = SIDE) -> Trained:
    asked = Preprocessing(
        resolution=side, ratio=1.0, crop_law="fused", mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]
    )
    made = ModelCard(
        schema=CARD_SCHEMA,
        arch=arch,
        num_classes=classes,
        use_blurpool=False,
        preprocessing=asked,
        accuracies=[],
    )
    return Trained(
        model=model.eval().requires_grad_(False),
        card=made,
        path=Path("weights.pt"),
        run=None,
        names=[str(number) for number in range(classes)],
        device=torch.device("cpu"),
    )


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize(
    ("arch", "layer", "channels_last"),
    [
        ("resnet18", "layer4", False),
        ("resnet50_32px", "layer4", False),
        ("small_resnet", "layers", False),
        ("resnet9", "stage3", False),
        ("mobilenet_v3_small", "features", False),
        ("efficientnet_b0", "features", False),
        ("convnext_tiny", "features", False),
        ("shufflenet_v2_x0_5", "conv5", False),
        ("densenet121", "features", False),
        ("googlenet", "inception5b", False),
        # before its classifier, which is a convolution
        ("squeezenet1_1", "classifier.0", False),
        ("swin_t", "permute", False),
        ("timm:resnet26", "layer4", False),
        ("timm:mobilenetv3_small_050", "blocks", False),
        ("timm:convnext_atto", "norm_pre", False),
        ("timm:swin_tiny_patch4_window7_224", "norm", True),
    ],
)
def test_last_feature_map_is_found_in_each_family(arch: str, layer: str, channels_last: bool) -> None:
    # On this device there are shapes, and no numbers to compute.
    with torch.device("meta"):
        model = build_model(arch, 10, use_blurpool=False).eval()
    found = feature_map(model, 224, arch)
    assert found == (model.get_submodule(layer), channels_last)


@pytest.mark.parametrize("arch", ["vit_b_16", "timm:vit_tiny_patch16_224", "timm:mixer_s32_224"])
def test_network_of_tokens_is_refused_in_one_line(arch: str) -> None:
    with torch.device("meta"):
        model = build_model(arch, 10, use_blurpool=False).eval()
    with pytest.raises(
        UserError, match=f"^Grad-CAM needs a map of features.* {arch} has none there"
    ) as caught:
        feature_map(model, 224, arch)
    assert "\n" not in str(caught.value)


def test_stage_of_one_pixel_is_passed_over() -> None:
    with torch.device("meta"):
        model = build_model("resnet18", 10, use_blurpool=False).eval()
    assert feature_map(model, 32, "resnet18") == (model.layer3, False)


def by_formula(
    model: nn.Module, features: Any, head: Any, images: torch.Tensor, indices: list[int]
) -> np.ndarray:
    """Selvaraju et al. 2017, equations 1 and 2, enlarged and scaled to 0 to 1: float (n, side, side)."""
    maps = features(images).detach().requires_grad_()
    head(maps)[range(len(maps)), indices].sum().backward()
    assert maps.grad is not None
    heat = functional.relu((maps.grad.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)).detach()
    heat = heat - heat.amin((2, 3), keepdim=True)
    heat = heat / (1e-7 + heat.amax((2, 3), keepdim=True))
    heat = functional.interpolate(heat, images.shape[-1], mode="bilinear", align_corners=False)[:, 0]
    # The library scales once more.
    heat = heat - heat.amin((1, 2), keepdim=True)
    return np.asarray(heat / (1e-7 + heat.amax((1, 2), keepdim=True)))


def test_maps_equal_the_formula() -> None:
    torch.manual_seed(1)
    model: Any = build_model("small_resnet", 4, use_blurpool=True).eval()
    model.fc.weight.data.abs_()
    batch = pictures(3, 64)
    images = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    expected = by_formula(
        model,
        lambda x: model.layers(model.relu(model.bn1(model.conv1(x)))),
        lambda x: model.fc(x.mean((2, 3))),
        images,
        [0, 1, 2],
    )
    found = GradCam(trained(model, 4, side=64)).maps(batch, [0, 1, 2])
    assert found.dtype == np.float32
    assert (found.min() >= 0) and (found.max() <= 1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_features_changed_in_place_do_not_change_the_map() -> None:
    torch.manual_seed(1)
    model = torchvision.models.DenseNet(8, (2, 2), 16, num_classes=3).eval()
    model.classifier.weight.data.abs_()
    batch = pictures(2, 64)
    images = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    expected = by_formula(
        model, model.features, lambda x: model.classifier(functional.relu(x).mean((2, 3))), images, [0, 2]
    )
    found = GradCam(trained(model, 3, side=64)).maps(batch, [0, 2])
    np.testing.assert_allclose(found, expected, atol=2e-3)


class Corner(nn.Module):
    """Class 0: how red an image is; class 1: how blue."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        self.conv.weight.data.zero_()
        self.conv.weight.data[0, 0], self.conv.weight.data[1, 2] = 1, 1
        self.fc.weight.data.copy_(torch.eye(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_heat_lies_where_the_class_is() -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:8, :8] = [255, 0, 0]
    pixels[-8:, -4:] = [0, 0, 200]
    network = trained(Corner(), 2)
    red, blue, likeliest = cam(network, pixels, 0), cam(network, pixels, 1), cam(network, pixels)
    assert red[2, 2] == pytest.approx(1) and red[-2, -2] == pytest.approx(0)
    assert blue[2, 2] == pytest.approx(0) and blue[-2, -2] == pytest.approx(1)
    np.testing.assert_array_equal(likeliest, red)
    drawn = overlay(pixels, red)
    assert drawn.shape == pixels.shape and drawn.dtype == np.uint8
    # From blue to red over black.
    assert drawn[2, 2].argmax() == 0 and drawn[20, 10].argmax() == 2


def test_network_is_left_as_it_was() -> None:
    network = trained(build_model("small_resnet", 4, use_blurpool=False), 4)
    images = torch.zeros(1, 3, SIDE, SIDE)
    before = network.model(images)
    GradCam(network).maps(pictures(1))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.model.modules())
    assert all(weight.grad is None for weight in network.model.parameters())
    torch.testing.assert_close(network.model(images), before, rtol=0, atol=0)


def test_predict_writes_an_overlay_of_each_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = save_run(tmp_path / "run", card(["cat", "dog", "eel"]))
    for folder, name in (("one", "a.jpg"), ("two", "a.png"), ("two", "b.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(pictures(1, 50)[0]).save(tmp_path / folder / name)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    images = [str(tmp_path / name) for name in ("one", "broken.jpg", "two")]
    assert (
        predict([str(run), *images, "--cam", str(tmp_path / "new" / "cam"), "--device", "cpu"]) == EXIT_MISSED
    )
    written = sorted((tmp_path / "new" / "cam").iterdir())
    assert [path.name for path in written] == ["a-2.png", "a.png", "b.png"]
    shown = np.asarray(Image.open(written[1]))
    network = load_trained(run, device="cpu")
    pixels = Preprocessor(network.card.preprocessing).image(tmp_path / "one" / "a.jpg")
    np.testing.assert_array_equal(shown, overlay(pixels, cam(network, tmp_path / "one" / "a.jpg")))


def test_cam_of_several_networks_is_refused(tmp_path: Path) -> None:
    run = str(save_run(tmp_path / "run", card(["cat", "dog", "eel"])))
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"^--cam is of one network: drop --ensemble$"):
        predict([run, str(tmp_path / "a.png"), "--cam", str(tmp_path / "cam"), "--ensemble", run])
    assert not (tmp_path / "cam").exists()
