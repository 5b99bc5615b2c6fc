"""Several networks as one, whose probabilities are the mean of theirs (Lakshminarayanan et al. 2017)."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class Ensemble(nn.Module):
    """(n, 3, h, w) -> (n, classes): the logarithm of the mean of the members' softmax, float32.

    Its softmax is that mean, so it takes the place of a network whose outputs are logits. Members may be of any
    architecture; their outputs are of the same classes in the same order.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logs = torch.stack([member(images).float().log_softmax(1) for member in self.members])
        return logs.logsumexp(0) - math.log(len(self.members))
