"""The options of section `augmentation`: the crop, and what is done to a training batch on the device."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError

_LEVELS = "0 to 30 (torchvision's bins), or 0 to 10 in timm's form"


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random resized crop and flip (torchvision's law), then, on the device, in this order: policy, colour jitter,
    erasing, ColOut, MixUp or CutMix."""

    min_scale: float = option(
        0.08, "smallest share of the image's area that a random crop takes", above=0, high=1
    )
    max_scale: float = option(
        1.0, "largest share of the image's area that a random crop takes", above=0, high=1
    )
    max_aspect: float = option(
        4 / 3, "random crops are at most this much wider than high, or higher", low=1, high=4
    )
    flip: bool = option(True, "flip half of the training images left to right")
    repeats: int = option(
        1,
        "repeated augmentation (Hoffer et al. 2019): each image stands so many times in a batch, with another crop and "
        "augmentation each; an epoch has as many images as before, of a share of the data that changes from epoch to "
        "epoch",
        low=1,
        high=8,
    )
    policy: str = option(
        "none",
        "random image operations; auto-augment: ImageNet's policy (Cubuk et al. 2018); rand-augment: Cubuk et al. "
        "2019; trivial-augment: TrivialAugment's wide space (Müller, Hutter 2021)",
        choices=("none", "auto-augment", "rand-augment", "trivial-augment"),
    )
    rand_augment_ops: int = option(2, "rand-augment: operations per image", low=1, high=14)
    rand_augment_magnitude: float = option(9.0, f"rand-augment: their strength, {_LEVELS}", low=0, high=30)
    rand_augment_std: float = option(
        0.0, "rand-augment: standard deviation of the strength (timm's mstd)", low=0, high=30
    )
    rand_augment_probability: float = option(
        1.0, "rand-augment: how often each operation is done (timm: 0.5)", above=0, high=1
    )
    rand_augment_form: str = option(
        "torchvision",
        "rand-augment: operations and strengths as torchvision has them, or timm's increasing ones (inc1), as in "
        "ResNet Strikes Back",
        choices=("torchvision", "timm"),
    )
    brightness: float = option(0.0, "colour jitter: brightness changes by up to this share", low=0, high=1)
    contrast: float = option(0.0, "colour jitter: contrast changes by up to this share", low=0, high=1)
    saturation: float = option(0.0, "colour jitter: saturation changes by up to this share", low=0, high=1)
    hue: float = option(0.0, "colour jitter: hue moves by up to this share of its circle", low=0, high=0.5)
    erasing_probability: float = option(
        0.0, "share of the images in which a random rectangle is erased (Zhong et al. 2017)", low=0, high=1
    )
    erasing_fill: str = option(
        "mean",
        "what erased pixels become; mean: ImageNet's mean colour; noise: normal noise (timm's mode pixel)",
        choices=("mean", "noise"),
    )
    colout_rows: float = option(
        0.0, "share of the rows dropped at random (Composer's ColOut)", low=0, high=0.9
    )
    colout_columns: float = option(0.0, "share of the columns dropped at random (ColOut)", low=0, high=0.9)
    mixup_alpha: float = option(
        0.0, "MixUp (Zhang et al. 2017): shares are drawn from Beta(alpha, alpha); 0: off", low=0, high=10
    )
    cutmix_alpha: float = option(
        0.0, "CutMix (Yun et al. 2019): areas are drawn from Beta(alpha, alpha); 0: off", low=0, high=10
    )
    cutmix_share: float = option(
        0.5, "where MixUp and CutMix are both on: share of the images that CutMix takes", low=0, high=1
    )
    mix_probability: float = option(1.0, "share of the images that are mixed at all", above=0, high=1)


def check_augmentation(law: AugmentationConfig) -> None:
    """Raise UserError for options of section `augmentation` that don't go together."""
    if law.min_scale > law.max_scale:
        raise UserError("augmentation.min_scale is above augmentation.max_scale: swap them")
    if law.rand_augment_form == "timm" and law.rand_augment_magnitude > 10:
        raise UserError(
            f"augmentation.rand_augment_magnitude {law.rand_augment_magnitude:g} is above 10, the most in timm's form"
        )
