"""The options of section `augmentation`: the crop, and the operations on a training batch on the device."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random crop and flip, then policy, colour jitter, erasing, ColOut, MixUp/CutMix.

    The crop follows torchvision's RandomResizedCrop; everything after the flip runs on the device, in this order.
    """

    min_scale: float = option(
        0.08, "smallest random crop, as a fraction of the image's area", above=0, high=1
    )
    max_scale: float = option(1.0, "largest random crop, as a fraction of the image's area", above=0, high=1)
    max_aspect: float = option(
        4 / 3, "largest aspect ratio of a random crop: from 1/max_aspect to max_aspect", low=1, high=4
    )
    flip: bool = option(True, "flip half of the training images left to right, at random")
    repeats: int = option(
        1,
        "repeated augmentation (Hoffer et al. 2019): put each image N times into a batch, with a different crop and "
        "augmentation each time; an epoch keeps its number of images, so it sees 1/N of the data set, a different part "
        "each epoch; 1 = off",
        low=1,
        high=8,
    )
    policy: str = option(
        "none",
        "random image operations. auto-augment: the ImageNet policy of Cubuk et al. 2018. rand-augment: Cubuk et al. "
        "2019. trivial-augment: the wide space of Müller and Hutter 2021",
        choices=("none", "auto-augment", "rand-augment", "trivial-augment"),
    )
    rand_augment_ops: int = option(2, "rand-augment: number of operations per image", low=1, high=14)
    rand_augment_magnitude: float = option(
        9.0,
        "rand-augment: strength of the operations; 0 to 30 (torchvision's bins), or 0 to 10 with "
        "rand_augment_form=timm",
        low=0,
        high=30,
    )
    rand_augment_std: float = option(
        0.0,
        "rand-augment: standard deviation of the strength (timm's mstd); 0 = the same strength each time",
        low=0,
        high=30,
    )
    rand_augment_probability: float = option(
        1.0, "rand-augment: probability of applying each operation (timm uses 0.5)", above=0, high=1
    )
    rand_augment_form: str = option(
        "torchvision",
        "rand-augment: whose operations and strengths. timm: the increasing ones (inc1), as in ResNet Strikes Back",
        choices=("torchvision", "timm"),
    )
    brightness: float = option(
        0.0, "colour jitter: largest relative change of brightness; 0 = off", low=0, high=1
    )
    contrast: float = option(
        0.0, "colour jitter: largest relative change of contrast; 0 = off", low=0, high=1
    )
    saturation: float = option(
        0.0, "colour jitter: largest relative change of saturation; 0 = off", low=0, high=1
    )
    hue: float = option(
        0.0,
        "colour jitter: largest shift of hue, as a fraction of the colour circle; 0 = off",
        low=0,
        high=0.5,
    )
    erasing_probability: float = option(
        0.0,
        "random erasing (Zhong et al. 2017): probability of erasing a random rectangle of an image; 0 = off",
        low=0,
        high=1,
    )
    erasing_fill: str = option(
        "mean",
        "random erasing: what fills the rectangle. mean: ImageNet's mean colour. noise: normal noise (timm's pixel "
        "mode)",
        choices=("mean", "noise"),
    )
    colout_rows: float = option(
        0.0, "ColOut (Composer): fraction of an image's rows to drop at random; 0 = off", low=0, high=0.9
    )
    colout_columns: float = option(
        0.0, "ColOut: fraction of an image's columns to drop at random; 0 = off", low=0, high=0.9
    )
    mixup_alpha: float = option(
        0.0,
        "MixUp (Zhang et al. 2017): mixing weights are drawn from Beta(alpha, alpha); 0 = off",
        low=0,
        high=10,
    )
    cutmix_alpha: float = option(
        0.0, "CutMix (Yun et al. 2019): areas are drawn from Beta(alpha, alpha); 0 = off", low=0, high=10
    )
    cutmix_share: float = option(
        0.5, "with both MixUp and CutMix on: fraction of the mixed images that CutMix gets", low=0, high=1
    )
    mix_probability: float = option(1.0, "fraction of the images that MixUp or CutMix mixes", above=0, high=1)


def check_augmentation(law: AugmentationConfig) -> None:
    """Raises UserError for options of section `augmentation` that don't go together."""
    if law.min_scale > law.max_scale:
        raise UserError("augmentation.min_scale is above augmentation.max_scale: swap them")
    if law.rand_augment_form == "timm" and law.rand_augment_magnitude > 10:
        raise UserError(
            f"augmentation.rand_augment_magnitude {law.rand_augment_magnitude:g} is above 10, the maximum with "
            "rand_augment_form=timm: lower it"
        )
