"""Costs of a step by hand, and the device's work."""

import pytest
import torch
from torch import nn

from benchmarks.sides.roofline_limits import copy_work, matrix_work, step_cost


def test_flops_and_bytes_equal_a_count_by_hand() -> None:
    side, channels = 8, 5
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.Flatten(), nn.Linear(channels * side**2, 7)
    )
    cost = step_cost(model, batch=4, side=side, dtype=torch.float32)
    convolution, linear = 2 * 27 * channels * side**2, 2 * channels * side**2 * 7
    # No gradient is made for the images, so the first layer's backward pass is only that of its weights.
    assert cost.flops == 2 * convolution + 3 * linear
    outputs = 4 * (channels * side**2 * 2 + 7)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert cost.bytes == 5 * outputs + 7 * 4 * weights / 4
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_halves_the_bytes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 3))
    whole, half = (
        step_cost(model, batch=10**9, side=6, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    assert whole.flops == half.flops
    assert whole.bytes == pytest.approx(2 * half.bytes, rel=1e-3)


def test_device_work_has_the_stated_size() -> None:
    device = torch.device("cpu")
    product, flops = matrix_work(device, torch.float32)
    assert flops == 2.0 * 1024**3
    copy, moved = copy_work(device)
    target = copy.call()
    assert isinstance(target, torch.Tensor)
    assert (target.numel() * 2, int(target.min())) == (moved, 1)
    assert isinstance(product.call(), torch.Tensor)
