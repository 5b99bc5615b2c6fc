"""The stem over four channels: the values of the one over three, and the same weights.

In float64 on the CPU: there torch's own loops compute it. oneDNN's four-channel convolutions in NHWC write beyond their
output on CPUs without AVX-512 (torch 2.15), which is why the option is refused on a CPU.
"""

import copy

import pytest
import torch
from torch import nn

from engine.errors import UserError
from engine.models.build import MODELS, build_model
from engine.models.stem import WideStem, widen_stem
from engine.train.weights import build_network
from tests.train.steps import CPU, recipe

STEMS = [
    {"kernel_size": 7, "stride": 2, "padding": 3, "bias": False},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 4, "stride": 4},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("settings", STEMS, ids=str)
def test_wide_stem_has_values_and_gradients_of_the_narrow_one(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    narrow = nn.Conv2d(3, 8, **settings).double()  # type: ignore[arg-type]
    wide = WideStem(copy.deepcopy(narrow), 4).double()
    images = torch.randn(2, 3, 16, 20, dtype=torch.float64)
    results = []
    for layer in (narrow, wide):
        x = images.clone().requires_grad_()
        out = layer(x)
        factors = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
        results.append([out, *torch.autograd.grad((out * factors).sum(), [x, *layer.parameters()])])
    assert results[1][2].shape == narrow.weight.shape
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_convolution_of_the_wide_stem_sees_four_channels_in_nhwc() -> None:
    seen: list[torch.Size] = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.nn.functional.conv2d:
                seen.extend([args[0].shape, args[1].shape])
                assert all(part.is_contiguous(memory_format=torch.channels_last) for part in args[:2])
            return func(*args, **(kwargs or {}))

    stem = WideStem(nn.Conv2d(3, 8, 3), 4).to("meta").to(memory_format=torch.channels_last)
    with Watch():
        stem(torch.empty(2, 3, 9, 9, device="meta", memory_format=torch.channels_last))
    assert seen == [(2, 4, 9, 9), (8, 4, 3, 3)]


@pytest.mark.parametrize("arch", [*MODELS.names(), "resnet50", "mobilenet_v3_small", "vit_b_16"])
def test_wide_stem_keeps_names_and_shapes_of_the_weights(arch: str) -> None:
    model = build_model(arch, 4, use_blurpool=False)
    before = {name: value.shape for name, value in model.state_dict().items()}
    weights = {id(weight) for weight in model.parameters()}
    assert widen_stem(model, 4) == 1
    assert {name: value.shape for name, value in model.state_dict().items()} == before
    assert {id(weight) for weight in model.parameters()} == weights


def test_wide_stem_is_refused_where_it_can_not_be() -> None:
    wide = recipe(stem_channels=4)
    with pytest.raises(
        UserError, match=r"training\.stem_channels=4 needs a GPU, and this run is on the cpu: "
    ):
        build_network(wide, 4, CPU)
    with pytest.raises(UserError, match=r"training\.stem_channels=4 needs a GPU: drop it"):
        recipe(stem_channels=4, device="cpu")
    with pytest.raises(UserError, match=r"stem_channels=4 is for training\.channels_last: set that, or drop"):
        recipe(stem_channels=4, channels_last="false")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wide_stem_on_a_gpu_matches_float64(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    narrow = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False).double()
    expected = narrow(images := torch.randn(8, 3, 64, 64, dtype=torch.float64))
    stem = WideStem(copy.deepcopy(narrow), 4).to("cuda", dtype).to(memory_format=torch.channels_last)
    found = stem(images.to("cuda", dtype).to(memory_format=torch.channels_last))
    tolerance = 1e-2 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(found.double().cpu(), expected, rtol=tolerance, atol=tolerance)
