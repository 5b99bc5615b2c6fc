"""MixUp (Zhang et al. 2017) and CutMix (Yun et al. 2019): mix images and targets with those of a partner.

Shares and boxes are drawn for each sample (timm's mode "elem"; the papers draw one per batch). Partners are neighbours
in the epoch's order: 0 and 1, 2 and 3, ... So partners are the same for any number of ranks and any accumulation, if
the device batch is even. (The last of an odd number mixes with the first, and a corrupt sample that is left out shifts
the partners of those after it in its batch.)
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.config.train.augmentation import AugmentationConfig
from engine.train.augment.augmentation import Augmentation, Draws, upload
from engine.train.augment.erasing import inside


def partners(count: int) -> NDArray[np.int64]:
    """The position of each sample's partner in a batch of `count`."""
    positions = np.arange(count)
    swapped = positions ^ 1
    swapped[swapped == count] = 0
    return swapped


def beta(drawn: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Beta(alpha, alpha) from uniform numbers, by its inverse; rounded, because last digits differ between machines."""
    # Not at the top: every run imports this module, and few need scipy.
    from scipy.special import betaincinv

    return np.round(betaincinv(alpha, alpha, drawn) * 2.0**24) / 2.0**24


def cut_boxes(
    shares: NDArray[np.float64], drawn: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """The box taken from the partner, int64 (n, 4): top, left, height, width; its area is 1 - share before clipping.

    `drawn` (n, 2) in [0, 1) is its centre, relative to the image.
    """
    middle_y, middle_x = (drawn * (height, width)).astype(np.int64).T
    half = np.sqrt(1 - shares) / 2
    half_height, half_width = (half * height).astype(np.int64), (half * width).astype(np.int64)
    top, bottom = np.clip(middle_y - half_height, 0, None), np.clip(middle_y + half_height, None, height)
    left, right = np.clip(middle_x - half_width, 0, None), np.clip(middle_x + half_width, None, width)
    return np.stack([top, left, bottom - top, right - left], axis=1)


class Mixing:
    """MixUp or CutMix for each sample; with both on, CutMix for a share `cutmix_share` of them."""

    on_levels = False

    def __init__(self, law: AugmentationConfig, num_classes: int) -> None:
        self._law, self._num_classes = law, num_classes
        self._cut_share = law.cutmix_share if law.mixup_alpha else 1.0
        if not law.cutmix_alpha:
            self._cut_share = 0.0

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        blend, boxes, shares = self._decide(draws, height, width)
        other = upload(partners(len(images)), images.device)
        weight = upload(blend.astype(np.float32), images.device)[:, None, None, None]
        if self._cut_share:
            weight = torch.where(inside(boxes, height, width, images.device), 0, weight)
        # Indexing keeps channels_last; index_select does not.
        partner = images[other]
        # Exact for weights of 0 and 1.
        mixed = images.mul_(weight).add_(partner.mul_(1 - weight))
        one_hot = functional.one_hot(targets, self._num_classes).float()
        share = upload(shares.astype(np.float32), images.device)[:, None]
        return mixed, torch.lerp(one_hot.index_select(0, other), one_hot, share)

    def _decide(
        self, draws: Draws, height: int, width: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """For each sample: its share of the pixels outside the box, the box, and its share of the target."""
        law, (which, omitted, share, *centre) = self._law, draws.uniform("mixing", 5).T
        cuts = which < self._cut_share
        shares = np.ones(len(draws.ids))
        for rows, alpha in ((cuts, law.cutmix_alpha), (~cuts, law.mixup_alpha)):
            if alpha:
                shares[rows] = beta(share[rows], alpha)
        shares[omitted >= law.mix_probability] = 1
        boxes = cut_boxes(shares, np.stack(centre, axis=1), height, width)
        boxes[~cuts] = 0
        blend = np.where(cuts, 1.0, shares)
        return blend, boxes, np.where(cuts, 1 - boxes[:, 2] * boxes[:, 3] / (height * width), shares)


def mixing(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """On if either alpha is above 0."""
    return Mixing(law, num_classes) if law.mixup_alpha or law.cutmix_alpha else None
