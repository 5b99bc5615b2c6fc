"""FLOPs and bytes that a training step costs an image.

FLOPs are counted by torch.utils.flop_counter over forward and backward (convolutions and matrix products; a multiply
and an add are two). Bytes are an estimate, stated with each record: every layer's output is written and read once in
the forward pass, and read once more, with its gradient written and read, in the backward pass; weights are read twice
and their gradients written and read, momentum read and written, and they are written, in float32, once for a batch.
What a fused kernel or a cache saves is not taken off, so the true traffic may be lower.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

# Of each output: written, read, read again, gradient written and read.
_PASSES = 5
# Of each weight and step: read twice, gradient written and read, momentum read and written, weight written.
_WEIGHT_PASSES = 7
_WEIGHT_BYTES = 4

ESTIMATE = f"bytes estimated: {_PASSES} passes over each layer's output, {_WEIGHT_PASSES} over the weights for a batch"


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
