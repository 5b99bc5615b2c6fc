"""The resolution to test at, chosen on images that were never trained on (FixRes, Touvron et al. 2019).

Networks trained on random crops see objects larger than in validation's centre crops, and do best at a resolution
above that of training. It is chosen on data.holdout's part of the training file, since a choice made on the
validation file would flatter its result.
"""

from typing import Any

from torch import nn

from engine.train.validator import Validator, own_conditions


def search_resolution(validator: Validator, model: nn.Module, sides: list[int]) -> list[dict[str, Any]]:
    """The accuracy at each side (pixels), as the recipe validates, the best first; of equals the smallest."""
    conditions = [own_conditions(validator.validation, side) for side in sorted(set(sides))]
    found = [
        {
            "resolution": one.resolution,
            "top1": accuracy.top1,
            "loss": accuracy.loss,
            "images": accuracy.count,
        }
        for one, accuracy in zip(conditions, validator.measure(model, conditions), strict=True)
    ]
    return sorted(found, key=lambda entry: (-entry["top1"], entry["resolution"]))


def search_table(found: list[dict[str, Any]]) -> str:
    """What was found, by resolution, and what was chosen, in lines."""
    rows = [
        f"{entry['resolution']:>5} px  top-1 {entry['top1']:7.2%}  loss {entry['loss']:.4f}"
        for entry in sorted(found, key=lambda entry: entry["resolution"])
    ]
    images = found[0]["images"]
    return "\n".join(
        [f"on {images:,} images held out of training:", *rows, f"validated at {found[0]['resolution']} px"]
    )
