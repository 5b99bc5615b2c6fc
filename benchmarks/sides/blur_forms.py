"""Other ways to compute BlurPool (engine/models/blurpool.py), for the blurpool stage."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from engine.models.blurpool import BlurConv2d

Blur = Callable[[torch.Tensor, int], torch.Tensor]
"""(images (n, channels, height, width), stride) -> the 3x3 binomial blur with zero padding at every stride-th pixel."""


def _kernel(images: torch.Tensor) -> torch.Tensor:
    binomial = torch.tensor([1.0, 2.0, 1.0], dtype=images.dtype, device=images.device) / 4
    return (binomial[:, None] * binomial).expand(images.shape[1], 1, 3, 3).contiguous()


def depthwise(images: torch.Tensor, stride: int) -> torch.Tensor:
    """A depthwise convolution, as BlurConv2d has it."""
    return functional.conv2d(images, _kernel(images), stride=stride, padding=1, groups=images.shape[1])


def slices(images: torch.Tensor, stride: int) -> torch.Tensor:
    """[1 2 1] / 4 down and then across, as sums of shifted slices."""
    padded = functional.pad(images, (1, 1, 1, 1))
    down = padded[:, :, :-2:stride] + 2 * padded[:, :, 1:-1:stride] + padded[:, :, 2::stride]
    across = down[..., :-2:stride] + 2 * down[..., 1:-1:stride] + down[..., 2::stride]
    return across / 16


def pools(images: torch.Tensor, stride: int) -> torch.Tensor:
    """Two 2x2 averages, since [1 2 1] / 4 is [1 1] / 2 twice."""
    once = functional.avg_pool2d(images, 2, stride=1, padding=1)
    return functional.avg_pool2d(once, 2, stride=stride)


class _SelfAdjoint(torch.autograd.Function):
    """The depthwise convolution, with another one as its gradient: the filter is symmetric."""

    @staticmethod
    def forward(ctx, images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(kernel)
        return functional.conv2d(images, kernel, padding=1, groups=images.shape[1])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[no-untyped-def]
        (kernel,) = ctx.saved_tensors
        return functional.conv2d(gradient, kernel, padding=1, groups=gradient.shape[1]), None


def self_adjoint(images: torch.Tensor, stride: int) -> torch.Tensor:
    """Depthwise, its gradient made by the forward's own kernel; with a stride as `depthwise`."""
    if stride > 1:
        return depthwise(images, stride)
    out: torch.Tensor = _SelfAdjoint.apply(images, _kernel(images))
    return out


FORMS: dict[str, Blur] = {
    "depthwise": depthwise,
    "slices": slices,
    "two-pools": pools,
    "self-adjoint": self_adjoint,
}


def _max_pool(images: torch.Tensor, stride: int) -> torch.Tensor:
    return functional.max_pool2d(images, 3, stride, padding=1)


MAX_POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max-pool": lambda images: _max_pool(images, 2),
    "blurred-at-stride": lambda images: depthwise(_max_pool(images, 1), 2),
    "blurred-everywhere": lambda images: depthwise(_max_pool(images, 1), 1)[:, :, ::2, ::2],
}
"""ResNet's max-pool, and Zhang's: a maximum around every pixel, blurred at every second one."""


class Fused(BlurConv2d):
    """The blur with the stride, in any precision; the engine's layer does without where that is slower."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_fused(x)


class Unfused(BlurConv2d):
    """Every pixel blurred, then the convolution with its stride: the layer as it was before it was fused."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blurred = functional.conv2d(x, self.blur, padding=1, groups=self.in_channels)
        return nn.Conv2d.forward(self, blurred)


class Composed(BlurConv2d):
    """Blur and k x k convolution as one (k + 2) x (k + 2) convolution with the stride.

    Equal to the layer only away from the border, where zeros come between the two. For timing.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = self.weight.shape
        flat = self.weight.reshape(-1, 1, *sides[2:])
        # Padded by the whole filter: every place at which the two overlap.
        composed = functional.conv2d(flat, self.blur[:1].to(flat.dtype), padding=2)
        composed = composed.reshape(*sides[:2], sides[2] + 2, sides[3] + 2)
        padding = (int(self.padding[0]) + 1, int(self.padding[1]) + 1)
        return functional.conv2d(x, composed, self.bias, self.stride, padding, groups=self.groups)


def unfuse(model: nn.Module) -> None:
    """Make every blurred convolution in `model` the unfused one, in place."""
    for module in model.modules():
        if type(module) is BlurConv2d:
            module.__class__ = Unfused
