"""Colour jitter: brightness, contrast, saturation and hue, in random order for each sample (torchvision's law)."""

from functools import partial

import numpy as np

from engine.config.train.augmentation import AugmentationConfig
from engine.train.augment.augmentation import Augmentation, Draws
from engine.train.augment.operations import NAMES, Layer, Operations

_KINDS = ("brightness", "contrast", "saturation", "hue")


def colour_jitter_layers(law: AugmentationConfig, draws: Draws, height: int, width: int) -> list[Layer]:
    """Factors uniform in 1 - share .. 1 + share, the hue's shift in -share .. share."""
    kinds = [kind for kind in _KINDS if getattr(law, kind) > 0]
    shares = np.array([getattr(law, kind) for kind in kinds])
    middles = np.array([0.0 if kind == "hue" else 1.0 for kind in kinds])
    drawn = draws.uniform("colour-jitter", 2 * len(kinds))
    values = middles + shares * (2 * drawn[:, : len(kinds)] - 1)
    codes = np.array([NAMES.index(kind) for kind in kinds])
    orders = drawn[:, len(kinds) :].argsort(1)
    return [
        Layer(operations=codes[order], values=np.take_along_axis(values, order[:, None], 1)[:, 0])
        for order in orders.T
    ]


def colour_jitter(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """On if any of the four options is above 0."""
    if not any(getattr(law, kind) for kind in _KINDS):
        return None
    return Operations(partial(colour_jitter_layers, law))
