"""Residual branches: stochastic depth (dropping them at random in training), and zero initialisation.

The blocks of ResNet, ResNeXt and WideResNet (torchvision's and ours) end their branch with a norm, the last one among
the block's direct children; the shortcut's norm is in a nested module. Networks with stochastic depth of their own
(ConvNeXt, EfficientNet, Swin, MaxViT) keep theirs, with scaled probabilities.
"""

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock as TorchvisionBasicBlock
from torchvision.models.resnet import Bottleneck
from torchvision.ops import StochasticDepth, stochastic_depth

from engine.models.small import BasicBlock

_BLOCKS = (TorchvisionBasicBlock, Bottleneck, BasicBlock)


class DroppingNorm(nn.BatchNorm2d):
    """The norm at the end of a residual branch, whose output is zero for a random `share` of the samples in training.

    The other outputs are scaled by 1 / (1 - share). Has the weights and statistics of `norm`, under the same names.
    """

    def __init__(self, norm: nn.BatchNorm2d, share: float) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return stochastic_depth(super().forward(x), self.share, "row", self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, share={self.share:g}"


def apply_stochastic_depth(model: nn.Module, last: float) -> int:
    """Drop block l of L in `model` with probability l / L x `last` (Huang et al. 2016, their linear rule), in place.

    If the network has stochastic depth of its own, its probabilities are scaled so that the highest is `last`.
    Returns the number of blocks.
    """
    own = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    highest = max((module.p for module in own), default=0.0)
    for module in own:
        module.p *= last / highest
    ends = branch_ends(model)
    for number, (block, name) in enumerate(ends, start=1):
        setattr(block, name, DroppingNorm(getattr(block, name), last * number / len(ends)))
    return len(own) + len(ends)


def zero_init_residual(model: nn.Module) -> int:
    """Start every residual branch of `model` at zero (Goyal et al. 2017, section 5.1); returns their number."""
    ends = branch_ends(model)
    for block, name in ends:
        nn.init.zeros_(getattr(block, name).weight)
    return len(ends)


def branch_ends(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Each residual block, in order, with the name of the norm at the end of its branch."""
    ends = []
    for block in model.modules():
        if isinstance(block, _BLOCKS):
            norms = [name for name, child in block.named_children() if isinstance(child, nn.BatchNorm2d)]
            ends.append((block, norms[-1]))
    return ends
