"""The options of a verb that takes any weights: what the file does not say, or what is to be changed of it."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.predict.trained import Given


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """Add --arch, --blurpool, --key, --resolution, --ratio and --crop-law to `parser`."""
    group = parser.add_argument_group("for weights that do not say it, or to change what they say")
    group.add_argument(
        "--arch", default="", metavar="NAME", help="the network, such as resnet50 or timm:convnext_tiny"
    )
    group.add_argument("--blurpool", action="store_true", default=None, help="it was trained with BlurPool")
    group.add_argument(
        "--key",
        default="",
        metavar="KEY",
        help="entry of a checkpoint with several networks, such as state.student",
    )
    group.add_argument(
        "--resolution", type=_side, default=0, metavar="PX", help="side of the input; default 224"
    )
    group.add_argument(
        "--ratio",
        type=_ratio,
        default=0.0,
        metavar="R",
        help="side of the crop / short side; default 0.875",
    )
    group.add_argument(
        "--crop-law",
        default="",
        choices=("fused", "torchvision"),
        help="how the crop is made; default torchvision",
    )


def given_of(asked: argparse.Namespace) -> "Given":
    """What was said by these options."""
    from engine.predict.trained import Given

    return Given(
        arch=asked.arch,
        use_blurpool=asked.blurpool,
        resolution=asked.resolution,
        ratio=asked.ratio,
        crop_law=asked.crop_law,
        key=asked.key,
    )


def _side(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 10,000")
    return value


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value
