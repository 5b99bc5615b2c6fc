"""A stem that reads four channels: the image's three and one of zeros (training.stem_channels).

NVIDIA's Convolutional Layers User's Guide: for the first convolution over "3-channel images, padding to 4 channels is
sufficient if a stride of 2 is used". Image and weights get their zeros as they are used: batches, augmentations,
parameters and state_dict keep three channels, and the zeros cost 14 bytes a pixel of 16-bit traffic (read 3 channels,
write 4), 0.7 MB an image at 224 px, of about 370 MB that a step of ResNet-50 moves.
"""

import torch
from torch import nn
from torch.nn import functional

from engine.models.conv import ReplacedConv2d

IMAGE_CHANNELS = 3


class WideStem(ReplacedConv2d):
    """The convolution `conv` over images, computed over `channels` channels, of which the further ones are zeros.

    (n, 3, h, w) -> the output shape of `conv`. Its sums have further terms, all of them 0, so outputs and gradients are
    those of `conv` up to the order in which the library adds.
    """

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__(conv)
        self.further = channels - conv.in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        zeros = (0, 0, 0, 0, 0, self.further)
        return self._conv_forward(functional.pad(x, zeros), functional.pad(self.weight, zeros), self.bias)


def widen_stem(module: nn.Module, channels: int) -> int:
    """Have the convolutions over images inside `module` read `channels` channels, in place; returns their number."""
    replaced = 0
    for name, child in list(module.named_children()):
        if type(child) is nn.Conv2d and child.in_channels == IMAGE_CHANNELS and child.groups == 1:
            setattr(module, name, WideStem(child, channels))
            replaced += 1
        else:
            replaced += widen_stem(child, channels)
    return replaced
