"""What a step costs an image, and what the device can do: matrix products, and copies within its memory.

FLOPs are counted by torch.utils.flop_counter over forward and backward (convolutions and matrix products; a multiply
and an add are two). Bytes are an estimate, which each record states: every layer's output is written and read once in
the forward pass; in the backward pass it is read again, and its gradient written and read. For each batch, weights are
read twice, their gradients written and read, momentum read and written, and weights written, in float32. Savings by
fused kernels and caches are not subtracted, so the true traffic may be lower.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.turns import Work

# Large enough for the device to be busy with, small enough for a round to hold several.
_SIDE = {"cpu": 1024, "cuda": 8192}
# Several times a CPU's cache, or a GPU's.
_COPIED = {"cpu": 256 * 2**20, "cuda": 2**30}
# Of each output: written, read, read again, gradient written and read.
_PASSES = 5
# Of each weight and step: read twice, gradient written and read, momentum read and written, weight written.
_WEIGHT_PASSES = 7
_WEIGHT_BYTES = 4

ESTIMATE = f"bytes estimated: {_PASSES} passes over each layer's output, {_WEIGHT_PASSES} over the weights for a batch"


def matrix_work(device: torch.device, dtype: torch.dtype) -> tuple[Work, float]:
    """A product of two square matrices, and its FLOPs (2 n^3)."""
    side = _SIDE[device.type]
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    product: Callable[[], object] = lambda: torch.mm(first, second, out=out)  # noqa: E731
    return Work(call=product), 2.0 * side**3


def copy_work(device: torch.device) -> tuple[Work, float]:
    """A copy within the device's memory, and the bytes that are read and written."""
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return Work(call=lambda: target.copy_(source)), 2.0 * source.numel()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one image in a step."""

    flops: float
    bytes: float


def step_cost(model: nn.Module, *, batch: int, side: int, dtype: torch.dtype) -> Cost:
    """Count one forward and backward pass of `model`, in training mode, on two images of `side` pixels.

    `batch`: images among which the weights' bytes are shared; `dtype`: of the layers' outputs.
    """
    device = next(model.parameters()).device
    counted = 2
    outputs: list[int] = []
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: outputs.append(_numbers(output)))
        for module in model.modules()
        if not any(module.children())
    ]
    images = torch.randn(counted, 3, side, side, device=device)
    labels = torch.zeros(counted, dtype=torch.int64, device=device)
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            functional.cross_entropy(model(images).float(), labels).backward()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    weights = sum(parameter.numel() for parameter in model.parameters())
    moved = (
        _PASSES * sum(outputs) * dtype.itemsize / counted + _WEIGHT_PASSES * weights * _WEIGHT_BYTES / batch
    )
    return Cost(flops=counter.get_total_flops() / counted, bytes=moved)


def _numbers(output: object) -> int:
    return output.numel() if isinstance(output, torch.Tensor) else 0
