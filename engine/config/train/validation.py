"""The options of section `validation`: how accuracy is measured, and what else is measured of trained weights."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError

_LOW, _HIGH = 8, 1024


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How accuracy is measured. Plain accuracy (no TTA, by default 224 px of 256) is always reported too."""

    batch_size: int = option(512, "images per validation step on each device", low=1)
    resolution: int = option(
        256, "validation resolution, in pixels (FixRes: above that of training)", low=_LOW, high=_HIGH
    )
    ratio: float = option(224 / 256, "side of the centre crop / short side of the image", above=0, high=1)
    lr_tta: bool = option(True, "average the probabilities of the image and its left-right flip")
    plain_resolution: int = option(
        224, "resolution of the plain result reported beside it", low=_LOW, high=_HIGH
    )
    plain_ratio: float = option(224 / 256, "crop ratio of the plain result", above=0, high=1)
    resolutions: str = option(
        "",
        "eval_only: further resolutions such as 224,288, each reported beside `resolution`. The file is read once: "
        "some 4,096 images at a time are decoded at each of them in turn, while they lie in memory",
    )
    search: str = option(
        "",
        "eval_only: resolutions such as 224,256,288, of which the best on data.holdout's images takes the place of "
        "`resolution` (FixRes)",
    )
    reference: str = option(
        "",
        "eval_only: the data set that val_dataset was made of, given as to write_dataset.py's source.path. Its files "
        "are scored through Pillow and torchvision's Resize, CenterCrop and Normalize as well, and the gap between the "
        "two ways is told",
    )
    reference_folder: str = option(
        "", "reference, an image folder: name of the split's folder; empty: train or val, as val_dataset says"
    )
    reference_labels: str = option(
        "", "reference: labels of images without class folders, as write_dataset.py's source.val_labels"
    )

    def search_list(self) -> list[int]:
        """The resolutions to search, in pixels. Raises UserError for anything else in `search`."""
        return _sides("search", self.search)

    def resolution_list(self) -> list[int]:
        """The resolutions to report on beside `resolution`, in pixels. Raises UserError for anything else in it."""
        return _sides("resolutions", self.resolutions)


def check_validation(validation: ValidationConfig, *, eval_only: bool, holdout: float) -> None:
    """Raises UserError for options that don't fit each other, or what is run."""
    sides = {"search": validation.search_list(), "resolutions": validation.resolution_list()}
    for key in ("search", "resolutions", "reference"):
        if sides.get(key, getattr(validation, key)) and not eval_only:
            raise UserError(f"validation.{key} needs trained weights: training.eval_only and model.weights")
    if sides["search"] and not holdout:
        raise UserError("validation.search needs data.holdout, the share of train that the weights never saw")
    for key in ("reference_folder", "reference_labels"):
        if getattr(validation, key) and not validation.reference:
            raise UserError(
                f"validation.{key} means nothing without validation.reference, the original images"
            )


def _sides(key: str, text: str) -> list[int]:
    try:
        sides = [int(side) for side in text.split(",") if side.strip()]
    except ValueError:
        sides = [0]
    if not all(_LOW <= side <= _HIGH for side in sides):
        raise UserError(
            f"validation.{key}: {text!r} is no list of resolutions from {_LOW} to {_HIGH}: as in 224,256"
        )
    return sides
