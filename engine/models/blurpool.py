"""BlurPool (Zhang 2019, "Making Convolutional Networks Shift-Invariant Again"): blur, then stride.

As in ffcv-imagenet and Composer, the input of every strided convolution with at least 16 input channels is low-pass
filtered. The filter is that of antialiased-cnns. It is constant and not part of the `state_dict`: weights have the same
names with and without BlurPool. `python -m benchmarks blurpool` measures it; docs/techniques.md has the results.
"""

import torch
from antialiased_cnns import BlurPool
from torch import nn
from torch.nn import functional

from engine.models.conv import ReplacedConv2d

# ffcv-imagenet's rule: the stem, whose input is the image, is not blurred.
_MIN_CHANNELS = 16
_FILTER_SIZE = 3


class BlurConv2d(ReplacedConv2d):
    """A 3x3 binomial blur with zero padding, then a strided convolution with the weights of `conv`.

    (n, in_channels, h, w) -> the output shape of `conv`.
    """

    blur: torch.Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)
        blur = BlurPool(conv.in_channels, filt_size=_FILTER_SIZE, stride=1).filt
        self.register_buffer("blur", blur.to(conv.weight.device), persistent=False)
        # A 1x1 convolution (ResNet's shortcut) reads only every stride-th blurred pixel.
        self.by_triton = False
        self.is_pointwise = all(side == 1 for side in self.kernel_size) and self.padding in ((0, 0), "valid")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.is_pointwise and not _slow_with_stride(x):
            return self.forward_fused(x)
        return super().forward(self._blurred(x, (1, 1)))

    def forward_fused(self, x: torch.Tensor) -> torch.Tensor:
        """`forward` for pointwise convolutions: blurs only the pixels that the convolution reads."""
        return functional.conv2d(self._blurred(x, self.stride), self.weight, self.bias, groups=self.groups)

    def _blurred(self, x: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
        if self.by_triton and len(set(stride)) == 1:
            from engine.models.triton_blur import blur

            return blur(x, stride[0])
        return functional.conv2d(
            x, self.blur, stride=stride, padding=_FILTER_SIZE // 2, groups=self.in_channels
        )


def _slow_with_stride(x: torch.Tensor) -> bool:
    """Whether a depthwise convolution of `x` is slower with a stride than without: in bf16 on a CPU.

    There forward and backward of ResNet-50's shortcuts take 3.5 to 4.5 times as long (benchmarks/results/blurpool_*).
    """
    if x.device.type != "cpu":
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16


def blur_by_triton(module: nn.Module) -> None:
    """Have the blurs inside `module` computed by our kernel (triton_blur.py) instead of a depthwise convolution."""
    for part in module.modules():
        if isinstance(part, BlurConv2d):
            part.by_triton = True


def apply_blurpool(module: nn.Module) -> int:
    """Replace the strided convolutions inside `module` in place; returns their number."""
    replaced = 0
    for name, child in list(module.named_children()):
        if type(child) is nn.Conv2d and max(child.stride) > 1 and child.in_channels >= _MIN_CHANNELS:
            setattr(module, name, BlurConv2d(child))
            replaced += 1
        else:
            replaced += apply_blurpool(child)
    return replaced
