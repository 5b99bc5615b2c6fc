"""evaluation.json, which the result line holds as well: all that was measured of a network on a file."""

from dataclasses import dataclass
from typing import Any

from engine.runs.log_fields import JsonTable, log_field

_SHARE, _PIXELS, _IMAGES, _NATS = "share (0 to 1)", "px", "images", "nats"


@dataclass(frozen=True, kw_only=True)
class SearchedResolution(JsonTable):
    """The accuracy at one resolution on the images of data.holdout (validation.search)."""

    resolution: int = log_field("side of the images", unit=_PIXELS, required=True)
    top1: float | None = log_field("top-1, measured as the recipe says", unit=_SHARE)
    loss: float | None = log_field("mean cross-entropy", unit=_NATS)
    images: int | None = log_field("images that were counted", unit=_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Measured(JsonTable):
    """An accuracy and the conditions it was measured under."""

    resolution: int = log_field("side of the images", unit=_PIXELS, required=True)
    ratio: float | None = log_field("side of the crop / short side of the image")
    tta: bool | None = log_field("whether an image and its mirror image are averaged")
    crop_law: str | None = log_field(
        "how the crop is made, as validation.crop_law; null: fused, in older files"
    )
    top1: float | None = log_field("top-1", unit=_SHARE)
    top5: float | None = log_field("top-5", unit=_SHARE)
    top1_no_tta: float | None = log_field("top-1 without TTA", unit=_SHARE)
    top5_no_tta: float | None = log_field("top-5 without TTA", unit=_SHARE)
    val_loss: float | None = log_field("mean cross-entropy; an image counts at most 691", unit=_NATS)
    mean_class_top1: float | None = log_field(
        "mean of the classes' top-1; only where the largest has more than 5 times the images of the smallest",
        unit=_SHARE,
    )


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin(JsonTable):
    """The images whose confidence is in a range."""

    low: float = log_field("lower end of the range, excluded", unit=_SHARE, required=True)
    high: float = log_field("upper end of the range, included", unit=_SHARE, required=True)
    images: int = log_field("images in it", unit=_IMAGES, required=True)
    confidence: float | None = log_field("their mean confidence; null: no image", unit=_SHARE)
    accuracy: float | None = log_field("their top-1; null: no image", unit=_SHARE)


@dataclass(frozen=True, kw_only=True)
class Calibration(JsonTable):
    """Whether the network's confidence can be trusted (Guo et al. 2017). Null: outputs that are not finite."""

    ece: float | None = log_field("expected calibration error", unit=_SHARE)
    nll: float | None = log_field("mean negative log-likelihood", unit=_NATS)
    confidence: float | None = log_field("mean probability of the likeliest class", unit=_SHARE)
    bins: list[ReliabilityBin] = log_field("the reliability table", required=True)


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy(JsonTable):
    """The accuracy of one class."""

    name: str = log_field("the class", key="class", required=True)
    images: int = log_field("its images", unit=_IMAGES, required=True)
    top1: float | None = log_field("top-1 on them; null: it has none", unit=_SHARE)
    top5: float | None = log_field("top-5 on them; null: it has none", unit=_SHARE)


@dataclass(frozen=True, kw_only=True)
class Confusion(JsonTable):
    """Images of one class that were taken for another."""

    name: str = log_field("the class", key="class", required=True)
    predicted: str = log_field("the class that was predicted", required=True)
    images: int = log_field("number of its images", unit=_IMAGES, required=True)
    share: float | None = log_field("of its images", unit=_SHARE)


@dataclass(frozen=True, kw_only=True)
class OriginalsComparison(JsonTable):
    """The same weights on the original files, prepared by Pillow and torchvision (validation.reference)."""

    images: int = log_field("images compared", unit=_IMAGES, required=True)
    resolution: int = log_field("side of the crop", unit=_PIXELS, required=True)
    short_side: int = log_field("short side that images are resized to", unit=_PIXELS, required=True)
    engine_top1: float | None = log_field("top-1 on the images as decoded here, without TTA", unit=_SHARE)
    engine_top5: float | None = log_field("top-5 on the images as decoded here, without TTA", unit=_SHARE)
    top1: float | None = log_field("top-1 on the original files, without TTA", unit=_SHARE)
    top5: float | None = log_field("top-5 on the original files, without TTA", unit=_SHARE)
    gap_points: float | None = log_field("100 x (engine_top1 - top1)", unit="points")
    changed: int | None = log_field("predictions that differ", unit=_IMAGES)
    mean_difference: float | None = log_field("mean absolute difference of a class's probability")
    moved: float | None = log_field("mean probability that moved to other classes", unit=_SHARE)
    rejected: int | None = log_field("images that the conversion left out", unit=_IMAGES)
    not_in_file: int | None = log_field("original images that the file does not hold", unit=_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Evaluation(JsonTable):
    """All results of one pass over a file; top1 to val_loss are measured as the recipe says."""

    images: int | None = log_field("images that were counted", unit=_IMAGES)
    left_out: int | None = log_field("corrupt images that were left out", unit=_IMAGES)
    decoder: str | None = log_field("how the images were decoded, as benchmark records name it")
    resolution: int | None = log_field("side of the images", unit=_PIXELS)
    ratio: float | None = log_field("side of the crop / short side of the image")
    tta: bool | None = log_field("whether an image and its mirror image are averaged")
    crop_law: str | None = log_field(
        "how the crop is made, as validation.crop_law; null: fused, in older files"
    )
    top1: float = log_field("top-1", unit=_SHARE, required=True)
    top5: float | None = log_field("top-5", unit=_SHARE)
    top1_no_tta: float | None = log_field("top-1 without TTA", unit=_SHARE)
    top5_no_tta: float | None = log_field("top-5 without TTA", unit=_SHARE)
    val_loss: float | None = log_field("mean cross-entropy; an image counts at most 691", unit=_NATS)
    mean_class_top1: float | None = log_field(
        "mean of the classes' top-1; only where the largest has more than 5 times the images of the smallest",
        unit=_SHARE,
    )
    resolutions: list[Measured] = log_field("accuracy by side, the smallest first", required=True)
    plain: Measured | None = log_field("accuracy under the plain conditions")
    calibration: Calibration = log_field("whether its confidence can be trusted", required=True)
    classes: list[ClassAccuracy] = log_field("accuracy by class, in the labels' order", required=True)
    confusions: list[Confusion] = log_field("most frequent mistakes, most frequent first", required=True)
    reference: OriginalsComparison | None = log_field("the original files; absent: not compared")


@dataclass(frozen=True, kw_only=True)
class EvaluationFile(Evaluation):
    """evaluation.json: what was evaluated, and what was found."""

    arch: str | None = log_field("the network's name (model.arch)")
    weights: str | None = log_field("the file of weights (model.weights)")
    use_ema: bool | None = log_field("whether its averaged weights were used (model.use_ema)")
    ensemble: list[str] | None = log_field(
        "further networks whose softmax was averaged with its (model.ensemble); absent: none"
    )
    file: str | None = log_field("the validation file (data.val_dataset)")

    def to_json(self) -> dict[str, Any]:
        """The file's content: what was evaluated comes first."""
        content = super().to_json()
        first = [key for key in ("arch", "weights", "use_ema", "ensemble", "file") if key in content]
        return {key: content.pop(key) for key in first} | content
