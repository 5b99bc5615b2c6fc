"""A small residual network for images of 24 to 64 pixels, such as Fashion-MNIST and CIFAR-10.

He et al. 2015's basic blocks behind a stem that reduces the image once, not four times as the ImageNet stem does,
which would leave almost nothing of a 28-pixel image.
"""

from itertools import pairwise

import torch
from torch import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; (n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class SmallResNet(nn.Module):
    """A stem that halves the image, a block at that size, then one that halves it for each further width.

    (n, 3, h, w) -> (n, num_classes). Halving in the stem is what makes it fast: the widest activations, which cost
    memory bandwidth rather than arithmetic, never exist.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (48, 96, 192)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 4, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        blocks = [BasicBlock(widths[0], widths[0], 1)]
        blocks += [BasicBlock(before, after, 2) for before, after in pairwise(widths)]
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layers(out)
        return self.fc(out.mean((2, 3)))
