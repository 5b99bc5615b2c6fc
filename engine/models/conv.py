"""A convolution that takes the place of another one, with its settings and its very weights."""

from torch import nn


class ReplacedConv2d(nn.Conv2d):
    """Has the settings of `conv` and shares its weight and bias; subclasses compute it in another way."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            kernel_size=conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
        )
        self.weight, self.bias = conv.weight, conv.bias
