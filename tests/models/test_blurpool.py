"""The fused blur: where a convolution reads only some of the blurred pixels, the others are not made. Same values."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model

CONVOLUTIONS = [
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "stride": 2, "bias": True},
    {"kernel_size": 1, "stride": 3, "groups": 4},
    {"kernel_size": 1, "stride": (2, 1)},
    {"kernel_size": 1, "stride": 2, "padding": "valid"},
    {"kernel_size": 1, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 16},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2, "padding_mode": "reflect"},
    {"kernel_size": (1, 3), "stride": 2, "padding": (0, 1)},
    {"kernel_size": 2, "stride": 2},
]


def _unfused(layer: BlurConv2d, x: torch.Tensor) -> torch.Tensor:
    """All pixels blurred, then the convolution as it was."""
    binomial = torch.tensor([1.0, 2, 1], dtype=x.dtype) / 4
    kernel = (binomial[:, None] * binomial).expand(layer.in_channels, 1, 3, 3)
    return nn.Conv2d.forward(layer, functional.conv2d(x, kernel, padding=1, groups=layer.in_channels))


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("side", [(12, 14), (13, 9), (6, 7)], ids=str)
def test_fused_blur_has_the_values_and_gradients_of_the_full_blur(
    settings: dict[str, object], side: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, **{"bias": False, **settings}).double()  # type: ignore[arg-type]
    layer = BlurConv2d(conv).double()
    images = torch.randn(2, 16, *side, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    gradients, outputs = [], []
    for forward in (layer, lambda x: _unfused(layer, x)):
        x = images.clone().requires_grad_()
        out = forward(x)
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
        outputs.append(out.detach())
        gradients.append(torch.autograd.grad((out * weights).sum(), [x, *layer.parameters()]))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-13)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "autocast", "sides"),
    [
        (torch.float32, False, [(5, 6), (5, 6)]),
        # There the stride would make it slower.
        (torch.bfloat16, False, [(10, 12), (5, 6)]),
        (torch.float32, True, [(10, 12), (5, 6)]),
    ],
)
def test_shortcut_blur_is_fused_except_in_bf16_on_a_cpu(
    dtype: torch.dtype, autocast: bool, sides: list[tuple[int, int]]
) -> None:
    seen: list[tuple[int, ...]] = []
    layer = BlurConv2d(nn.Conv2d(16, 8, 1, stride=2)).to(dtype)

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if function is torch.conv2d or function is functional.conv2d:
                seen.append(tuple(out.shape[2:]))
            return out

    with Watch(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        layer(torch.randn(1, 16, 10, 12, dtype=dtype))
    assert seen == sides


def test_network_step_equals_that_of_the_unfused_blur() -> None:
    torch.manual_seed(0)
    fused = build_model("small_resnet", 5, use_blurpool=True).double()
    unfused = copy.deepcopy(fused)
    shortcuts = [module for module in unfused.modules() if isinstance(module, BlurConv2d)]
    assert [module.is_pointwise for module in shortcuts] == [False, True] * 2
    for module in shortcuts:
        module.is_pointwise = False
    images, labels = torch.randn(4, 3, 24, 24, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    for model in (fused, unfused):
        functional.cross_entropy(model(images), labels).backward()
    for (name, ours), theirs in zip(fused.named_parameters(), unfused.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10, msg=name)


def test_fused_blur_adds_nothing_to_the_state_dict() -> None:
    layer = BlurConv2d(nn.Conv2d(16, 8, 1, stride=2))
    assert set(layer.state_dict()) == {"weight", "bias"}
