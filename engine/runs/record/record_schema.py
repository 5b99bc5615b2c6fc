"""The keys of record.json: each with its type, its unit and what it says. docs/reference/log_schema.md lists them."""

import math
from dataclasses import dataclass
from typing import Self

from engine.runs.log_fields import Json, JsonTable, log_field
from engine.runs.log_schema import (
    SECONDS,
    SHARE,
    AlarmLine,
    Machine,
    ReplanLine,
    Revision,
)

RECORD_KIND = "run_record"
"""The value of `kind`, by which a record is told from other JSON files."""
RECORD_SCHEMA = 1
"""Raised when the meaning of a key changes."""

_LOW, _HIGH = "lower end of its 90% interval", "upper end of its 90% interval"


@dataclass(frozen=True, kw_only=True)
class DataSet(JsonTable):
    """What a run was trained and validated on."""

    name: str | None = log_field(
        "ImageNet-1k, CIFAR-10 or Fashion-MNIST, recognised by the numbers of classes and images, the last by its "
        "path too; else the files' names"
    )
    train_file: str | None = log_field("name of the training file, without its folder")
    val_file: str | None = log_field("name of the validation file, without its folder")
    num_train: int | None = log_field("training images, without those held out", unit="images")
    num_val: int | None = log_field("images of the validation file", unit="images")
    num_classes: int | None = log_field("classes")


@dataclass(frozen=True, kw_only=True)
class Predicted(JsonTable):
    """What was predicted before the run began."""

    top1: float | None = log_field("top-1 that the family predicts", unit=SHARE)
    top1_low: float | None = log_field(_LOW, unit=SHARE)
    top1_high: float | None = log_field(_HIGH, unit=SHARE)
    seconds: float | None = log_field("time of the run (plan.minutes)", unit=SECONDS)
    seconds_low: float | None = log_field(_LOW, unit=SECONDS)
    seconds_high: float | None = log_field(_HIGH, unit=SECONDS)


@dataclass(frozen=True, kw_only=True)
class RunRecord(JsonTable):
    """One finished training run; of a run of several stages, its last one, whose times count the earlier ones."""

    schema: int = log_field("version of this schema", required=True)
    name: str | None = log_field("the run folder's name")
    date: str | None = log_field("when the run ended", unit="ISO 8601, with time zone")
    recipe: str | None = log_field("the recipe's name")
    family: str | None = log_field("the family that predictions are from; null without one")
    arch: str | None = log_field("the network's name (model.arch)")
    parameters: int | None = log_field("the network's parameters")
    data: DataSet | None = log_field("the data")
    top1: float | None = log_field("validation top-1 that the verdict is about", unit=SHARE)
    top5: float | None = log_field("validation top-5 of the same weights", unit=SHARE)
    top1_no_tta: float | None = log_field("the same top-1 without TTA", unit=SHARE)
    averaged: bool | None = log_field("whether these are accuracies of the averaged weights (EMA)")
    val_resolution: int | None = log_field("resolution of the images behind top1", unit="px")
    val_ratio: float | None = log_field("side of the crop / short side of the image, for top1")
    val_crop_law: str | None = log_field(
        "how its crop is made: validation.crop_law; null: fused, as before it was an option"
    )
    tta: bool | None = log_field("whether top1 averages an image and its mirror image")
    plain_top1: float | None = log_field("top-1 at plain_resolution, without TTA", unit=SHARE)
    plain_top5: float | None = log_field("top-5 at plain_resolution, without TTA", unit=SHARE)
    plain_resolution: int | None = log_field("resolution of the images behind plain_top1", unit="px")
    plain_ratio: float | None = log_field("side of the crop / short side of the image, for plain_top1")
    plain_crop_law: str | None = log_field(
        "how its crop is made: torchvision; null: fused, as before there was a choice"
    )
    num_val: int | None = log_field("validation images that were counted", unit="images")
    target_top1: float | None = log_field("the target; null: none", unit=SHARE)
    budget_seconds: float | None = log_field("the time limit; null: none", unit=SECONDS)
    met: bool | None = log_field("whether target and time limit were kept; null: neither was set")
    verdict: str | None = log_field("the outcome as a sentence")
    elapsed_seconds: float | None = log_field(
        "wall time of the whole run: set-up, training, validation and saving", unit=SECONDS
    )
    setup_seconds: float | None = log_field(
        "time from the start of the process to the first step", unit=SECONDS
    )
    train_seconds: float | None = log_field("of these, training", unit=SECONDS)
    val_seconds: float | None = log_field("of these, validation", unit=SECONDS)
    time_to_target_seconds: float | None = log_field(
        "from the first training image read to the end of the first validation that reached the target, as MLPerf "
        "and DAWNBench count; null: not reached, or no target",
        unit=SECONDS,
    )
    stopped_early: float | None = log_field(
        "time that budget.stop_at_target saved, as predicted", unit=SECONDS
    )
    cost: float | None = log_field("elapsed time x price; null without a price")
    price: float | None = log_field("price of the machine per hour (budget.price), in the user's currency")
    predicted: Predicted | None = log_field("what was predicted before the run; null: nothing")
    epochs: float | None = log_field("epochs trained", unit="epochs")
    planned_epochs: int | None = log_field("training.epochs", unit="epochs")
    images: int | None = log_field("images trained on", unit="images")
    images_per_second: float | None = log_field("training images per second of training", unit="images/s")
    replans: list[ReplanLine] | None = log_field("changes of the run's length by budget.adapt, in order")
    alarms: list[AlarmLine] | None = log_field("accuracies far below the family's, in order")
    resumed: int | None = log_field("how often the run was resumed")
    stage: int | None = log_field("which stage of the recipe this is; null if there is only one")
    stages: int | None = log_field("how many stages the recipe has")
    device: str | None = log_field("device type: cpu or cuda")
    precision: str | None = log_field("number format of the forward pass: fp32, bf16 or fp16")
    world_size: int | None = log_field("number of ranks (processes)")
    global_batch: int | None = log_field("images of an optimizer step, over all devices", unit="images")
    machine: Machine | None = log_field("the machine of rank 0")
    versions: dict[str, str | None] | None = log_field("version by package; null: not installed")
    revision: Revision | None = log_field("git revision of the source; null outside a git checkout")
    seed: int | None = log_field("training.seed")
    started_from: str | None = log_field(
        "file of the weights that training started from, or the recipe's stage that it began with; null: from scratch"
    )
    settings: str | None = log_field(
        "digest of the options that say what is trained; runs in which it is equal are repeats"
    )
    command: str | None = log_field("the command that repeats the run, from the source's folder")

    def to_json(self) -> Json:
        """The record as it is written, `kind` first."""
        return {"kind": RECORD_KIND, **super().to_json()}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """The record that `content` is. Raises TypeError for a value of another type than its field's."""
        return super().from_json({key: value for key, value in content.items() if key != "kind"})

    @property
    def last_prediction(self) -> Predicted | None:
        """What was predicted last: after the last re-plan that came with a prediction, else before the run."""
        found = self.predicted or Predicted()
        for replan in self.replans or []:
            if replan.predicted_top1 is not None:
                low, high = replan.predicted_top1_low, replan.predicted_top1_high
                found = found.replaced(top1=replan.predicted_top1, top1_low=low, top1_high=high)
        return found if self.predicted or found.top1 is not None else None

    def fault(self) -> str:
        """What can't be true of a run; empty where nothing is wrong."""
        for name in ("top1", "top5", "top1_no_tta", "plain_top1", "plain_top5", "target_top1"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                return f"{name} is {value!r}, not a share from 0 to 1"
        for name in ("elapsed_seconds", "time_to_target_seconds", "cost", "epochs"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                return f"{name} is {value!r}"
        return ""
