"""The blurpool stage: what is compared computes the same, and records are of the fixed format."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.stages.blurpool import main
from benchmarks.sides.blur_forms import FORMS, MAX_POOLS, Composed, Unfused, unfuse
from engine.errors import UserError
from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model
from tests.benchmarks import records

TINY = ("--resolution=16", "--batch=2", "--seconds=0.001", "--arch=small_resnet")


def _images(channels: int = 16) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, channels, 10, 13, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_form_of_the_blur_is_the_same_one_and_so_is_its_gradient(form: str, stride: int) -> None:
    found = []
    for name in ("depthwise", form):
        images = _images().requires_grad_()
        out = FORMS[name](images, stride)
        found.append((out.detach(), *torch.autograd.grad((out**2).sum(), images)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_the_unfused_layer_and_network_give_the_fused_ones_values() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 4, 1, stride=2).double()
    torch.testing.assert_close(Unfused(conv).double()(_images()), BlurConv2d(conv).double()(_images()))
    model = build_model("small_resnet", 5, use_blurpool=True).double().eval()
    before = model(_images(3))
    unfuse(model)
    assert sum(type(module) is Unfused for module in model.modules()) == 4
    torch.testing.assert_close(model(_images(3)), before)


@pytest.mark.parametrize("groups", [1, 16])
def test_the_composed_convolution_differs_at_the_border_alone(groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=groups).double()
    apart, composed = (kind(conv).double()(_images()) for kind in (BlurConv2d, Composed))
    assert apart.shape == composed.shape == (2, 16, 5, 7)
    torch.testing.assert_close(apart[:, :, 1:-1, 1:-1], composed[:, :, 1:-1, 1:-1])
    assert not torch.allclose(apart[:, :, 0], composed[:, :, 0])


def test_the_two_blurred_max_pools_are_the_same() -> None:
    here, everywhere = (MAX_POOLS[name](_images()) for name in ("blurred-at-stride", "blurred-everywhere"))
    torch.testing.assert_close(here, everywhere)
    assert MAX_POOLS["max-pool"](_images()).shape == here.shape


def test_records_are_of_the_fixed_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "blurpool.json"
    parts = "--part=network,composed,maxpool"
    assert main([*TINY, parts, f"--json={file}"]) == 0
    found = records.read(file)
    for record in found:
        records.check(record)
    assert [(record["ours"], record["peer"]) for record in found] == [
        ("fused", "unfused"),
        *[("blur-then-3x3", "composed-5x5")] * 6,
        *(("max-pool", "blurred-at-stride"), ("max-pool", "blurred-everywhere")),
    ]
    assert found[0]["what"] == "small_resnet, a step"
    assert "in turns, in one process; 5 rounds of each" in file.with_suffix(".md").read_text()
    assert "depthwise 3x3, 128 channels" in capsys.readouterr().out


def test_each_blocks_shortcut_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    assert main([*TINY, "--part=layers", f"--json={file}"]) == 0
    assert [(record["ours"], record["what"]) for record in records.read(file)] == [
        ("fused", f"shortcut {inputs} to {2 * inputs} channels") for inputs in (256, 512, 1024)
    ]


def test_forms_are_measured_against_the_depthwise_one(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    assert main([*TINY, "--part=filter", "--precision=bf16", f"--json={file}"]) == 0
    found = records.read(file)
    assert [record["peer"] for record in found] == [form for form in FORMS if form != "depthwise"]
    assert {(record["precision"], record["compiled"]) for record in found} == {("bf16", False)}


def test_a_wrong_part_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="--part"):
        main(["--part=everything"])
