"""BlurPool's Triton kernel: the values and gradients of the depthwise convolution, and code for every GPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.nn import functional

from engine.errors import UserError
from engine.models.blurpool import BlurConv2d, blur_by_triton
from engine.models.build import build_model
from engine.train.weights import build_network
from tests.train.steps import CPU, recipe

pytest.importorskip("triton")

# Run by a process of its own: Triton reads TRITON_INTERPRET when it is imported.
INTERPRETED = """
import torch
from torch.nn import functional
from engine.models.triton_blur import blur, blur_adjoint

def convolution(images, stride):
    row = torch.tensor([1.0, 2, 1], dtype=images.dtype) / 4
    channels = images.shape[1]
    kernel = (row[:, None] * row).expand(channels, 1, 3, 3)
    return functional.conv2d(images, kernel, stride=stride, padding=1, groups=channels)

torch.manual_seed(0)
for dtype, limit in ((torch.float64, 1e-14), (torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
    for stride in (1, 2):
        # Odd and even sides, a single row, more channels than one program has, and a number that is no power of two.
        for shape in ((2, 16, 5, 4), (1, 20, 1, 5), (1, 65, 2, 3))[: 3 if dtype == torch.float64 else 1]:
            images = torch.randn(shape, dtype=torch.float64).to(dtype)
            theirs = images.double().clone().requires_grad_()
            ours = images.clone().requires_grad_()
            expected, found = convolution(theirs, stride), blur(ours, stride)
            assert found.dtype == dtype and found.shape == expected.shape
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert (found.double() - expected).abs().max() <= limit, (dtype, stride, shape)
            weights = torch.randn(expected.shape, dtype=torch.float64).to(dtype)
            (expected * weights.double()).sum().backward()
            (found * weights).sum().backward()
            assert (ours.grad.double() - theirs.grad).abs().max() <= limit, (dtype, stride, shape, "gradient")
for stride in (1, 2):
    images = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: blur(x, stride), (images,))
    assert torch.autograd.gradgradcheck(lambda x: blur(x, stride), (images,))
assert blur(torch.zeros(0, 16, 4, 4), 2).shape == (0, 16, 2, 2)
checks = ("test_schema", "test_autograd_registration", "test_faketensor")
torch.library.opcheck(blur, (torch.randn(1, 16, 5, 4), 2), test_utils=checks)
torch.library.opcheck(blur_adjoint, (torch.randn(1, 16, 3, 2), 5, 4, 2), test_utils=checks)
print("all equal")
"""


@pytest.mark.slow
def test_interpreted_kernel_equals_the_convolution(repository: Path) -> None:
    import triton

    if Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.5"):
        pytest.skip(f"the interpreter of Triton {triton.__version__} fails with NumPy {np.__version__}")
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        cwd=repository,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "all equal"


def test_compiled_network_keeps_the_blur_whole() -> None:
    model = build_model("small_resnet", 4, use_blurpool=True)
    blur_by_triton(model)
    blurs = sum(isinstance(module, BlurConv2d) for module in model.modules())
    seen: list[str] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes if "blur" in str(node.target))
        return graph

    torch.compiler.reset()
    with torch.device("meta"):
        images = torch.randn(2, 3, 16, 16)
    torch.compile(model.to("meta"), backend=count, fullgraph=True)(images)
    assert len(seen) == blurs == 4


def test_kernel_is_refused_where_triton_does_not_run() -> None:
    config = recipe(blur_kernel="triton", use_blurpool="true")
    with pytest.raises(
        UserError, match=r"blur_kernel=triton can't be used here: Triton does not run on cpu; pass"
    ):
        build_network(config, 4, CPU)


def finished(device: str, dtype: torch.dtype, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The blurred images and the gradient, by the kernel and, on the CPU, by the convolution."""
    from engine.models.triton_blur import blur

    torch.manual_seed(1)
    given = torch.randn(3, 80, 15, 22).to(dtype)
    row = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    images = given.to(device, torch.float64 if device == "cpu" else dtype).requires_grad_()
    if device == "cpu":
        kernel = (row[:, None] * row).expand(80, 1, 3, 3)
        out = functional.conv2d(images, kernel, stride=stride, padding=1, groups=80)
    else:
        out = blur(images.contiguous(memory_format=torch.channels_last), stride)
    (gradient,) = torch.autograd.grad(out.sum(), images)
    return out.detach().double().cpu(), gradient.double().cpu()


@pytest.mark.gpu
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kernel_on_a_gpu_equals_the_convolution(dtype: torch.dtype, stride: int) -> None:
    limit = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    for ours, theirs in zip(finished("cuda", dtype, stride), finished("cpu", dtype, stride), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=limit)


@pytest.mark.gpu
def test_network_on_a_gpu_has_the_same_loss_with_either_kernel() -> None:
    losses = []
    for kernel in ("convolution", "triton"):
        config = recipe(blur_kernel=kernel, use_blurpool="true")
        model: nn.Module = build_network(config, 4, torch.device("cuda"))
        torch.manual_seed(0)
        images = torch.randn(4, 3, 64, 64, device="cuda").contiguous(memory_format=torch.channels_last)
        losses.append(functional.cross_entropy(model(images), torch.arange(4, device="cuda")).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
