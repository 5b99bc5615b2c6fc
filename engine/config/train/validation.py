"""The options of section `validation`: how accuracy is measured, and what else is measured on trained weights."""

from dataclasses import dataclass

from engine.config.options import option
from engine.errors import UserError

_LOW, _HIGH = 8, 1024


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How accuracy is measured; a plain result (224 px of 256, torchvision's crop, no TTA) is always reported too."""

    batch_size: int = option(512, "images per validation step on each device", unit="images", low=1)
    every: int = option(
        1, "validate after every N epochs, and always after the last one", unit="epochs", low=1
    )
    resolution: int = option(
        256,
        "side of the validation crop; above the training resolution it often scores higher (FixRes)",
        unit="px",
        low=_LOW,
        high=_HIGH,
    )
    ratio: float = option(
        224 / 256, "side of the centre crop divided by the shorter side of the image", above=0, high=1
    )
    lr_tta: bool = option(
        True, "test-time augmentation: average the probabilities of the image and its left-right flip"
    )
    crop_law: str = option(
        "fused",
        "how the centre crop is made. fused: the square is cut out, then resized, as ffcv does; torchvision: as its "
        "Resize and CenterCrop do, where edge pixels count what lies beyond the square (on ImageNet photos 4 levels in "
        "the mean from fused), always decoded on the CPU. The plain result is torchvision's, whatever this says",
        choices=("fused", "torchvision"),
    )
    plain_resolution: int = option(224, "resolution of the plain result", unit="px", low=_LOW, high=_HIGH)
    plain_ratio: float = option(224 / 256, "crop ratio of the plain result", above=0, high=1)
    resolutions: str = option(
        "",
        "with training.eval_only: further resolutions to report, as a list such as 224,288; the file is read once, "
        "about 4,096 images at a time, and each of them is decoded at every resolution; empty = only `resolution`",
    )
    search: str = option(
        "",
        "with training.eval_only: resolutions to try on the images of data.holdout, as a list such as 224,256,288; the "
        "best one replaces `resolution` (FixRes); empty = no search",
    )
    reference: str = option(
        "",
        "with training.eval_only: the original data set that val_dataset was made from, given as source.path of "
        "write_dataset.py. Its files are also scored with Pillow and torchvision's Resize, CenterCrop and Normalize, "
        "and the difference in accuracy is printed; empty = off",
    )
    reference_folder: str = option(
        "",
        "reference that is an image folder: name of the split's folder; empty = train or val, whichever val_dataset "
        "holds",
    )
    reference_labels: str = option(
        "", "reference without class folders: its labels, as source.val_labels of write_dataset.py"
    )

    def search_list(self) -> list[int]:
        """The resolutions to search, in pixels. Raises UserError for text that can't be read."""
        return _sides("search", self.search)

    def resolution_list(self) -> list[int]:
        """The further resolutions to report, in pixels. Raises UserError for text that can't be read."""
        return _sides("resolutions", self.resolutions)


def check_validation(validation: ValidationConfig, *, eval_only: bool, holdout: float) -> None:
    """Raises UserError for options that don't go together, or don't fit the kind of run."""
    sides = {"search": validation.search_list(), "resolutions": validation.resolution_list()}
    for key in ("search", "resolutions", "reference"):
        if sides.get(key, getattr(validation, key)) and not eval_only:
            raise UserError(
                f"validation.{key} needs trained weights: set training.eval_only=true and model.weights"
            )
    if sides["search"] and not holdout:
        raise UserError(
            "validation.search needs data.holdout, the fraction of train that was kept out of training: set it"
        )
    for key in ("reference_folder", "reference_labels"):
        if getattr(validation, key) and not validation.reference:
            raise UserError(
                f"validation.{key} has no effect without validation.reference, the original images: set both"
            )


def _sides(key: str, text: str) -> list[int]:
    try:
        sides = [int(side) for side in text.split(",") if side.strip()]
    except ValueError:
        sides = [0]
    if not all(_LOW <= side <= _HIGH for side in sides):
        raise UserError(
            f"validation.{key}: {text!r} is not a list of resolutions from {_LOW} to {_HIGH}: write it as in 224,256"
        )
    return sides
