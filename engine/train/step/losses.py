"""Losses by name, and distillation from a teacher.

A loss takes logits (n, classes) and targets, either labels (n,) int64 or soft targets (n, classes) whose rows sum to
1, and returns the mean over the batch. Label smoothing spreads its share of either kind of target evenly over all
classes. Weights of the classes (imbalance.py) apply to the target before smoothing: what is spread is the same for
every image, and weighted it would push all of them towards the small classes. A new loss is a function here and an
entry of LOSSES in engine/config/choices.py.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from engine.config.train.train_config import TrainConfig
from engine.registry import Registry
from engine.train.checkpoints.teacher import build_teacher

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Builder(Protocol):
    """Makes a loss; `weights` are those of the classes, float32 (classes,), None: all are 1."""

    def __call__(self, config: TrainConfig, weights: torch.Tensor | None = None) -> Loss: ...


LOSSES: Registry[Builder] = Registry("loss.name")


@LOSSES.register("cross-entropy")
def cross_entropy(config: TrainConfig, weights: torch.Tensor | None = None) -> Loss:
    """Cross-entropy of the softmax."""
    smoothing = config.training.label_smoothing
    if weights is None:
        return nn.CrossEntropyLoss(label_smoothing=smoothing)

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logs = logits.float().log_softmax(1)
        aimed = (weights * _soft(targets, logits.shape[1]) * logs).sum(1)
        return -((1 - smoothing) * aimed + smoothing * logs.mean(1)).mean()

    return loss


@LOSSES.register("bce")
def binary_cross_entropy(config: TrainConfig, weights: torch.Tensor | None = None) -> Loss:
    """Binary cross-entropy of each class's sigmoid (Wightman et al. 2021, section 4).

    An image has the weight of its target, with loss.bce_threshold for all of its terms: no share of smoothing is left.
    """
    smoothing, threshold = config.training.label_smoothing, config.loss.bce_threshold

    def each(logits: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(logits.float(), soft, reduction="none")

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        target, classes = _soft(targets, logits.shape[1]), logits.shape[1]
        soft = target * (1 - smoothing) + smoothing / classes
        if threshold >= 0:
            soft = (soft > threshold).float()
        terms = each(logits, soft)
        if weights is not None:
            # The loss is linear in its targets: the target's part again, once for each unit of weight above 1.
            part = terms if threshold >= 0 else (1 - smoothing) * each(logits, target)
            terms = terms + ((target @ weights)[:, None] - 1) * part
        return terms.sum(1).mean() if config.loss.bce_sum else terms.mean()

    return loss


def _soft(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Either kind of target as one for each class, float32 (n, classes)."""
    return targets if targets.ndim == 2 else functional.one_hot(targets, classes).float()


class Objective:
    """The configured loss and, where there is a teacher, the distance from it on the same images.

    `names` are those of the data's classes, where they are known, and `weights` (classes,) the weight of each. Raises
    UserError on construction for a teacher that can't be built, whose weights don't fit or are of other classes.
    """

    def __init__(
        self,
        config: TrainConfig,
        num_classes: int,
        device: torch.device,
        names: Sequence[str] | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        placed = None if weights is None else torch.from_numpy(weights).to(device)
        self._loss = LOSSES[config.loss.name](config, placed)
        self._alpha, self._temperature = config.loss.distill_alpha, config.loss.distill_temperature
        self._teacher: nn.Module | None = None
        if config.loss.teacher:
            teacher = build_teacher(config, num_classes, names)
            layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
            self._teacher = teacher.eval().requires_grad_(False).to(device).to(memory_format=layout)

    def __call__(self, images: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The batch's loss. Call it within the student's autocast context: the teacher uses the same precision."""
        loss = self._loss(logits, targets)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            taught = self._teacher(images)
        distance = distillation(logits, taught, self._temperature)
        return (1 - self._alpha) * loss + self._alpha * distance


def distillation(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL divergence of the softened softmax from the teacher's, times temperature^2 (Hinton et al. 2015).

    The factor keeps the size of the gradients at any temperature. Both arguments are logits (n, classes).
    """
    student = (logits.float() / temperature).log_softmax(1)
    teacher = (taught.float() / temperature).log_softmax(1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
