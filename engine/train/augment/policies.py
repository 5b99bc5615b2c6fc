"""AutoAugment, RandAugment and TrivialAugment: their operations, frequencies and strengths.

Strengths and ranges are those of torchvision (AutoAugment, RandAugment, TrivialAugmentWide), with bilinear sampling as
in its training reference. RandAugment also has timm's form, which ResNet Strikes Back uses (as rand-m7-mstd0.5-inc1);
timm draws bilinear or bicubic sampling, here it is bilinear.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.config.train.augmentation import AugmentationConfig
from engine.train.augment.augmentation import Augmentation, Draws
from engine.train.augment.operations import Layer, Operations, Space, in_space, without

_BINS = 31
"""Number of strengths in TrivialAugment and RandAugment: 0 to 30 thirtieths. AutoAugment has 10."""

# ImageNet's mean colour in levels, which timm uses outside of the image.
_MEAN_COLOUR = (124.0, 116.0, 104.0)


def _torchvision_space(
    *, shear: float, shift: float, degrees: float, factor: float, bits: int, pixels: float = 0
) -> Space:
    """torchvision's operations; shifts are up to `shift` of the side, or `pixels`."""

    def whole(shift: NDArray[np.float64]) -> NDArray[np.float64]:
        # int(), as in torchvision, but the same for 16.0000001 and 15.9999999.
        return np.trunc(np.round(shift, 4))

    space: Space = {"identity": lambda s, h, w: s * 0}
    space |= dict.fromkeys(("shear-x", "shear-y"), lambda s, h, w: shear * s)
    space["translate-x"] = lambda s, h, w: whole((pixels or shift * w) * s)
    space["translate-y"] = lambda s, h, w: whole((pixels or shift * h) * s)
    space["rotate"] = lambda s, h, w: degrees * s
    enhanced = ("brightness", "saturation", "contrast", "sharpness")
    space |= dict.fromkeys(enhanced, lambda s, h, w: 1 + factor * s)
    space["posterize"] = lambda s, h, w: 8 - np.rint(bits * np.abs(s))
    space["solarize"] = lambda s, h, w: 255 * (1 - np.abs(s))
    space |= dict.fromkeys(("autocontrast", "equalize"), lambda s, h, w: s * 0)
    return space


STANDARD = _torchvision_space(shear=0.3, shift=150 / 331, degrees=30, factor=0.9, bits=4)
WIDE = _torchvision_space(shear=0.99, shift=0, pixels=32, degrees=135, factor=0.99, bits=6)
WITH_INVERT: Space = {**STANDARD, "invert": lambda s, h, w: s * 0}
INCREASING: Space = {
    **dict.fromkeys(("autocontrast", "equalize", "invert"), lambda s, h, w: s * 0),
    "rotate": lambda s, h, w: 30 * s,
    "posterize": lambda s, h, w: 4 - np.trunc(np.abs(s) * 4),
    "solarize": lambda s, h, w: 256 - np.trunc(np.abs(s) * 256),
    "solarize-add": lambda s, h, w: np.trunc(np.abs(s) * 110),
    **dict.fromkeys(
        ("saturation", "contrast", "brightness", "sharpness"),
        lambda s, h, w: np.maximum(0.1, 1 + 0.9 * s),
    ),
    **dict.fromkeys(("shear-x", "shear-y"), lambda s, h, w: 0.3 * s),
    "translate-x": lambda s, h, w: 0.45 * w * s,
    "translate-y": lambda s, h, w: 0.45 * h * s,
}

# Table 9 of Cubuk et al. 2018: two operations, each with its probability and its strength in ninths.
IMAGENET_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("saturation", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("saturation", 1.0, 2)),
    (("saturation", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear-x", 0.6, 5), ("equalize", 1.0, 0)),
    (("saturation", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("saturation", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def auto_augment_layers(draws: Draws, height: int, width: int) -> list[Layer]:
    """One of the 25 pairs for each sample, each operation with its probability and a random sign."""
    drawn = draws.uniform("auto-augment", 5)
    chosen = (drawn[:, 0] * len(IMAGENET_POLICY)).astype(np.int64)
    layers = []
    for part in (0, 1):
        names, probabilities, ninths = (
            np.array(column) for column in zip(*(pair[part] for pair in IMAGENET_POLICY), strict=True)
        )
        strengths = _signed(ninths[chosen] / 9, drawn[:, 1 + part])
        layer = in_space(WITH_INVERT, names[chosen], strengths, height, width)
        layers.append(without(layer, drawn[:, 3 + part] >= probabilities[chosen]))
    return layers


def trivial_augment_layers(draws: Draws, height: int, width: int) -> list[Layer]:
    """One operation for each sample, with uniform strength and a random sign."""
    name, strength, sign = draws.uniform("trivial-augment", 3).T
    strengths = _signed(np.floor(strength * _BINS) / (_BINS - 1), sign)
    return [in_space(WIDE, _one_of(WIDE, name), strengths, height, width)]


def rand_augment_layers(law: AugmentationConfig, draws: Draws, height: int, width: int) -> list[Layer]:
    """`rand_augment_ops` operations for each sample, drawn independently, with about the same strength."""
    # Not at the top: every run imports this module, and few need scipy.
    from scipy.special import ndtri

    timm = law.rand_augment_form == "timm"
    space, most = (INCREASING, 10) if timm else (STANDARD, _BINS - 1)
    drawn = draws.uniform("rand-augment", 4 * law.rand_augment_ops)
    layers = []
    for name, sign, spread, omission in drawn.T.reshape(-1, 4, len(draws.ids)):
        # ndtri(0) is minus infinity; a draw may be 0.
        deviation = law.rand_augment_std * ndtri(np.maximum(spread, 2.0**-54))
        strength = np.clip(law.rand_augment_magnitude + deviation, 0, most) / most
        layer = in_space(space, _one_of(space, name), _signed(strength, sign), height, width)
        layers.append(without(layer, omission >= law.rand_augment_probability))
    return layers


def auto_augment(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """AutoAugment with ImageNet's policy (Cubuk et al. 2018)."""
    return Operations(auto_augment_layers) if law.policy == "auto-augment" else None


def rand_augment(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """RandAugment (Cubuk et al. 2019)."""
    if law.policy != "rand-augment":
        return None
    fill = _MEAN_COLOUR if law.rand_augment_form == "timm" else (0.0, 0.0, 0.0)
    return Operations(partial(rand_augment_layers, law), fill)


def trivial_augment(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """TrivialAugment, wide (Müller and Hutter 2021)."""
    return Operations(trivial_augment_layers) if law.policy == "trivial-augment" else None


def _one_of(space: Space, drawn: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.array(list(space))[(drawn * len(space)).astype(np.int64)]


def _signed(strengths: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(drawn < 0.5, -strengths, strengths)
