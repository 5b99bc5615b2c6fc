"""Residual networks for images of 24 to 64 pixels, such as Fashion-MNIST and CIFAR-10.

Their stems halve the image once or not at all; the ImageNet stem divides its side by four, which leaves almost nothing
of a 28-pixel image.
"""

from itertools import pairwise

import torch
import torchvision
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
    """He et al. 2015's basic blocks: a stem that halves the image, a block, a halving block per further width.

    (n, 3, h, w) -> (n, num_classes). Halving in the stem makes it fast: it avoids the largest activations, which are
    limited by memory bandwidth.
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


class ResNet9(nn.Module):
    """Page's network of "How to Train Your ResNet" (2018), which won DAWNBench on CIFAR-10: eight convolutions.

    (n, 3, h, w) -> (n, num_classes). Four stages of widths 64 to 512, of which the last three halve the image; the
    second and the last add a residual of two convolutions. The classifier's output is scaled by 1/8, as his is.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _conv_norm(3, 64)
        self.stage1 = nn.Sequential(_conv_norm(64, 128), nn.MaxPool2d(2), _Residual(128))
        self.stage2 = nn.Sequential(_conv_norm(128, 256), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(_conv_norm(256, 512), nn.MaxPool2d(2), _Residual(512))
        self.fc = nn.Linear(512, num_classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.fc(out.amax((2, 3))) / 8


class _Residual(nn.Module):
    """x + two convolutions of it, each with norm and ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_conv_norm(width, width), _conv_norm(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def _conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resnet_32px(name: str, num_classes: int) -> nn.Module:
    """torchvision's ResNet of that name with the stem He et al. 2015 use for CIFAR: 3x3, stride 1, no pooling.

    (n, 3, h, w) -> (n, num_classes). The names of its weights are torchvision's; conv1.weight has a different shape.
    """
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    conv = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = conv, nn.Identity()
    return model
