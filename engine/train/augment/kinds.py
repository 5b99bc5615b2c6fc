"""What an augmentation is, and the table of all of them; chain.py has their order."""

from collections.abc import Callable
from typing import Protocol

import torch

from engine.config.train.augmentation import AugmentationConfig
from engine.registry import Registry
from engine.train.augment.draws import Draws


class Augmentation(Protocol):
    """One augmentation, set up for a run."""

    on_levels: bool
    """Whether it takes images in levels of 0..255; the others take them normalised."""

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented images, float32 (n, 3, height, width), and targets: labels (n,) or soft (n, classes).

        May change `images` in place.
        """
        ...


AUGMENTATIONS: Registry[Callable[[AugmentationConfig, int], Augmentation | None]] = Registry("augmentation")
"""Each is made from section `augmentation` and the number of classes; None: this recipe does without it."""
