"""Forms of the blur: those that are compared compute the same."""

import pytest
import torch
from torch import nn

from benchmarks.sides.blur_forms import FORMS, MAX_POOLS, Composed, Unfused, unfuse
from engine.models.blurpool import BlurConv2d
from engine.models.build import build_model


def _images(channels: int = 16) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, channels, 10, 13, dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_form_has_the_same_values_and_gradient(form: str, stride: int) -> None:
    found = []
    for name in ("depthwise", form):
        images = _images().requires_grad_()
        out = FORMS[name](images, stride)
        found.append((out.detach(), *torch.autograd.grad((out**2).sum(), images)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_unfused_layer_and_network_equal_the_fused_ones() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 4, 1, stride=2).double()
    torch.testing.assert_close(Unfused(conv).double()(_images()), BlurConv2d(conv).double()(_images()))
    model = build_model("small_resnet", 5, use_blurpool=True).double().eval()
    before = model(_images(3))
    unfuse(model)
    assert sum(type(module) is Unfused for module in model.modules()) == 4
    torch.testing.assert_close(model(_images(3)), before)


@pytest.mark.parametrize("groups", [1, 16])
def test_composed_convolution_differs_only_at_the_border(groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=groups).double()
    apart, composed = (kind(conv).double()(_images()) for kind in (BlurConv2d, Composed))
    assert apart.shape == composed.shape == (2, 16, 5, 7)
    torch.testing.assert_close(apart[:, :, 1:-1, 1:-1], composed[:, :, 1:-1, 1:-1])
    assert not torch.allclose(apart[:, :, 0], composed[:, :, 0])


def test_blurred_max_pools_are_equal() -> None:
    here, everywhere = (MAX_POOLS[name](_images()) for name in ("blurred-at-stride", "blurred-everywhere"))
    torch.testing.assert_close(here, everywhere)
    assert MAX_POOLS["max-pool"](_images()).shape == here.shape
