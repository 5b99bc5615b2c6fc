"""BlurPool's 3x3 binomial blur as one Triton kernel: channels_last, stride 1 or 2, forward and backward.

All channels have the same filter, which a depthwise convolution does not know. The kernel reads each pixel from memory
about once (the nine taps of neighbours come from the cache) and writes each result once. With stride 1 it is its own
adjoint: the filter is symmetric and the padding zero. Sums are formed in float32 (float64 for float64) and rounded
once.

It is a custom operator, which torch.compile keeps whole. Not run on a GPU yet: tested in Triton's interpreter and
compiled ahead of time (docs/reference/kernels.md).
"""

from typing import Any

import torch
import triton
import triton.language as tl

_PIXELS, _CHANNELS = 16, 64
_WARPS = 4

_SUM = tl.float32
"""What sums are formed in; float64 for that type's own."""


@torch.library.custom_op("imagenet_engine::blur", mutates_args=())
def blur(images: torch.Tensor, stride: int) -> torch.Tensor:
    """The 3x3 binomial filter with zero padding over every `stride`-th pixel of (n, c, h, w).

    Returns (n, c, ceil(h / stride), ceil(w / stride)) of the same type, in channels_last order.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    out = _blurred(images, stride)
    _launch(images, out, stride, adjoint=False)
    return out


@torch.library.custom_op("imagenet_engine::blur_adjoint", mutates_args=())
def blur_adjoint(gradient: torch.Tensor, height: int, width: int, stride: int) -> torch.Tensor:
    """The gradient of `blur`'s images (n, c, height, width) from that of its result."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    out = _spread(gradient, height, width)
    _launch(gradient, out, stride, adjoint=True)
    return out


@blur.register_fake
def _blurred(images: torch.Tensor, stride: int) -> torch.Tensor:
    count, channels, height, width = images.shape
    shape = (count, channels, -(-height // stride), -(-width // stride))
    return torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)


@blur_adjoint.register_fake
def _spread(gradient: torch.Tensor, height: int, width: int, stride: int = 1) -> torch.Tensor:
    shape = (*gradient.shape[:2], height, width)
    return torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)


def _remember(ctx: Any, inputs: tuple[torch.Tensor, int], output: torch.Tensor) -> None:
    images, ctx.stride = inputs
    ctx.height, ctx.width = images.shape[2:]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    return blur_adjoint(gradient, ctx.height, ctx.width, ctx.stride), None


def _remember_adjoint(ctx: Any, inputs: tuple[torch.Tensor, int, int, int], output: torch.Tensor) -> None:
    ctx.stride = inputs[3]


def _backward_adjoint(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
    return blur(gradient, ctx.stride), None, None, None


blur.register_autograd(_backward, setup_context=_remember)
blur_adjoint.register_autograd(_backward_adjoint, setup_context=_remember_adjoint)


def _launch(given: torch.Tensor, out: torch.Tensor, stride: int, *, adjoint: bool) -> None:
    """Fill `out` from `given`; both are channels_last."""
    count, channels, height, width = out.shape
    if not out.numel():
        return
    strips, parts = -(-(height * width) // _PIXELS), -(-channels // _CHANNELS)
    _blur_part[(count * strips * parts,)](
        given,
        out,
        channels,
        given.shape[2],
        given.shape[3],
        height,
        width,
        strips,
        parts,
        STRIDE=stride,
        ADJOINT=adjoint,
        SUM=tl.float64 if given.dtype == torch.float64 else _SUM,
        PIXELS=_PIXELS,
        CHANNELS=_CHANNELS,
        num_warps=_WARPS,
        # One rounding less a tap; Triton's default is about to change.
        enable_fp_fusion=True,
    )


@triton.jit(do_not_specialize=["given_height", "given_width", "height", "width", "strips", "parts"])
def _blur_part(
    given: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    given_height: tl.tensor,
    given_width: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    strips: tl.tensor,
    parts: tl.tensor,
    STRIDE: tl.constexpr,
    ADJOINT: tl.constexpr,
    SUM: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Some channels of consecutive pixels of one image of `out`; lanes lie along the channels.

    Programs of neighbouring pixels follow each other, so that their common taps come from the cache.
    """
    program = tl.program_id(0)
    image = program // (strips * parts)
    strip, part = (program // parts) % strips, program % parts
    channel = part * CHANNELS + tl.arange(0, CHANNELS)
    pixel = strip * PIXELS + tl.arange(0, PIXELS)
    y, x = pixel // width, pixel % width
    wanted = (channel < channels)[None, :]
    image = image.to(tl.int64)
    source = given + image * given_height * given_width * channels
    total = tl.zeros([PIXELS, CHANNELS], SUM)
    for down in tl.static_range(3):
        for across in tl.static_range(3):
            if ADJOINT:
                # The results that this pixel is a tap of: those where (result * stride + tap - 1) is the pixel.
                above, left = y + 1 - down, x + 1 - across
                inside = (above >= 0) & (left >= 0) & (above % STRIDE == 0) & (left % STRIDE == 0)
                row, column = above // STRIDE, left // STRIDE
            else:
                row, column = y * STRIDE + down - 1, x * STRIDE + across - 1
                inside = (row >= 0) & (column >= 0)
            inside = inside & (row < given_height) & (column < given_width) & (y < height)
            place = (row * given_width + column) * channels
            value = tl.load(
                source + place[:, None] + channel[None, :], mask=inside[:, None] & wanted, other=0
            )
            weight = (2 if down == 1 else 1) * (2 if across == 1 else 1)
            total += weight * value.to(SUM)
    # A power of two: dividing last rounds nothing.
    total = total * 0.0625
    target = out + image * height * width * channels + pixel[:, None] * channels + channel[None, :]
    tl.store(target, total, mask=(y < height)[:, None] & wanted)
