"""Stochastic depth and residual branches that start at zero."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from engine.errors import UserError
from engine.models.build import build_model
from engine.models.residual import DroppingNorm
from engine.models.small import BasicBlock


@pytest.mark.parametrize(("arch", "end", "blocks"), [("resnet50", "bn3", 16), ("resnet18", "bn2", 8)])
def test_resnet_blocks_drop_by_the_linear_rule(arch: str, end: str, blocks: int) -> None:
    model = build_model(arch, 10, use_blurpool=False, stochastic_depth=0.4)
    norms = {name: module for name, module in model.named_modules() if isinstance(module, DroppingNorm)}
    assert all(name.split(".")[2] == end for name in norms)
    expected = [0.4 * number / blocks for number in range(1, blocks + 1)]
    assert [norm.share for norm in norms.values()] == pytest.approx(expected)


@pytest.mark.parametrize("arch", ["convnext_tiny", "efficientnet_b0", "swin_t"])
def test_networks_with_stochastic_depth_keep_their_rule(arch: str) -> None:
    with torch.device("meta"):
        own, ours = (build_model(arch, 10, use_blurpool=False, stochastic_depth=last) for last in (-1.0, 0.3))
    before, after = (
        [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
        for model in (own, ours)
    )
    assert max(after) == pytest.approx(0.3)
    assert after == pytest.approx([0.3 * share / max(before) for share in before])


def test_weights_load_into_the_plain_network_with_equal_outputs() -> None:
    torch.manual_seed(0)
    ours = build_model("resnet18", 10, use_blurpool=False, stochastic_depth=0.5)
    plain = torchvision.models.resnet18(num_classes=10)
    plain.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(images), plain.eval()(images))


def test_dropped_branch_leaves_the_shortcut_and_kept_one_is_scaled() -> None:
    torch.manual_seed(0)
    block = BasicBlock(16, 16, 1)
    images = torch.randn(64, 16, 6, 6)
    branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(images)))))
    block.bn2 = DroppingNorm(block.bn2, 0.25)
    out = block(images)
    dropped, kept = torch.relu(images), torch.relu(images + branch / 0.75)
    is_dropped = torch.tensor([torch.equal(one, other) for one, other in zip(out, dropped, strict=True)])
    torch.testing.assert_close(out[~is_dropped], kept[~is_dropped])
    assert 4 <= int(is_dropped.sum()) <= 30, "of 64 samples, a quarter on average"


def test_zero_init_makes_each_block_an_identity() -> None:
    torch.manual_seed(0)
    ours = build_model("resnet50", 10, use_blurpool=True, stochastic_depth=0.1, zero_init=True)
    theirs = torchvision.models.resnet50(zero_init_residual=True)
    zero = {
        name for name, value in theirs.state_dict().items() if name.endswith("weight") and not value.any()
    }
    assert len(zero) == 16
    found = {name for name, value in ours.state_dict().items() if name.endswith("weight") and not value.any()}
    assert found == zero


def test_dropout_is_set_in_every_dropout_layer() -> None:
    with torch.device("meta"):
        model = build_model("efficientnet_b0", 10, use_blurpool=False, dropout=0.35)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.35]


def test_timm_networks_take_dropout_and_depth_from_timm() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = build_model("timm:resnet18", 10, use_blurpool=False, dropout=0.2, stochastic_depth=0.3)
    theirs = timm.create_model("resnet18", num_classes=10, drop_rate=0.2, drop_path_rate=0.3)
    assert str(model) == str(theirs)
    with pytest.raises(UserError, match=r"model\.stochastic_depth: timm:vgg11 has no drop_path_rate"):
        build_model("timm:vgg11", 10, use_blurpool=False, stochastic_depth=0.3)


@pytest.mark.parametrize(
    ("arch", "option", "message"),
    [
        ("alexnet", {"stochastic_depth": 0.1}, r"model\.stochastic_depth: alexnet has no residual blocks"),
        ("resnet18", {"dropout": 0.1}, r"model\.dropout: resnet18 has no dropout layer"),
        ("alexnet", {"zero_init": True}, r"model\.zero_init_residual: alexnet has no residual blocks"),
    ],
)
def test_option_that_a_network_lacks_is_refused(arch: str, option: dict[str, float], message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build_model(arch, 10, use_blurpool=False, **option)  # type: ignore[arg-type]
