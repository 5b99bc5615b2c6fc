"""The lines of log.jsonl: each key with its type, its unit and what it says. The one place that declares them.

The trainer makes these, run_writer.py writes them, log_reader.py reads them back. A key is never renamed; a new one
raises nothing in older logs, whose lines read None there. docs/reference/log_schema.md is made from this file.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from engine.runs.evaluation_schema import Evaluation, SearchedResolution
from engine.runs.log_fields import Json, JsonTable, log_field

SCHEMA = 1
"""Raised when the meaning of a key changes. Logs from before the number was written are read as 0."""

SHARE, SECONDS, PIXELS, BYTES, MIB = "share (0 to 1)", "s", "px", "bytes", "MiB"
_LOSS = "nats"


@dataclass(frozen=True, kw_only=True)
class LogLine(JsonTable):
    """One line of the log."""

    kind: ClassVar[str] = ""
    time: str | None = log_field("when the line was written", unit="ISO 8601, with time zone")

    def to_json(self) -> Json:
        """The line as it is written, `kind` first."""
        return {"kind": self.kind, **super().to_json()}

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """The line that `content` is, with or without its `kind`. Raises TypeError for a value of another type."""
        return super().from_json({key: value for key, value in content.items() if key != "kind"})


@dataclass(frozen=True, kw_only=True)
class Machine(JsonTable):
    """The machine, as the run sees it."""

    cpu: str | None = log_field("the processor's name")
    cores: int | None = log_field("cores that this process may use", unit="cores")
    threads: int | None = log_field("threads of torch's work on the CPU")
    memory_gb: float | None = log_field("memory that this process may use", unit="GiB")
    gpus: list[str] | None = log_field("names of the GPUs that this process sees")


@dataclass(frozen=True, kw_only=True)
class Revision(JsonTable):
    """The git revision of the source."""

    commit: str | None = log_field("the commit's hash")
    dirty: bool | None = log_field("whether tracked files were changed since")


@dataclass(frozen=True, kw_only=True)
class Limits(JsonTable):
    """What limited an epoch, with the figures of the rank whose device waited longest (engine/train/bottleneck.py)."""

    words: str | None = log_field("the limiting stage and the figures that show it, as a sentence")
    advice: str | None = log_field("what to change to make it faster")
    idle_seconds: float | None = log_field("time the step waited for data", unit=SECONDS)
    step_seconds: float | None = log_field("time the step did not wait for data", unit=SECONDS)
    decode_cpu_seconds: float | None = log_field("CPU time of the decoding threads", unit=SECONDS)
    decode_cpu_ms_per_image: float | None = log_field("CPU time to decode an image", unit="ms")
    decode_queue_seconds: float | None = log_field("time decoding threads waited for a core", unit=SECONDS)
    read_seconds: float | None = log_field("time decoding threads waited for the disk", unit=SECONDS)
    window_seconds: float | None = log_field("time the loader waited for a window of the file", unit=SECONDS)
    download_seconds: float | None = log_field(
        "time the loader waited for a window of a file that was still downloaded",
        unit=SECONDS,
    )
    download_bytes: float | None = log_field("records downloaded in the epoch", unit=BYTES)
    fill_seconds: float | None = log_field("time the loader made batches", unit=SECONDS)
    copy_seconds: float | None = log_field("time of copies to the device", unit=SECONDS)
    disk_bytes: float | None = log_field("read from disks by this process", unit=BYTES)
    record_bytes: float | None = log_field("size of the records that were decoded", unit=BYTES)
    ready: float | None = log_field("slots that were ready when a batch was asked for", unit=SHARE)
    process_cpu_seconds: float | None = log_field("CPU time of all threads", unit=SECONDS)
    workers: int | None = log_field("decoding threads")
    cores: int | None = log_field("cores that this process may use", unit="cores")


_STAGE = "which stage of the recipe this is, from 1; absent if there is only one"
_STAGES = "how many stages the recipe has"
_EARLIER = "time of the stages before this one, which elapsed_seconds includes"
_GLOBAL_BATCH = "images of an optimizer step, over all devices"
_DEVICE_BATCH = "images of one forward pass on one device"
_ACCUMULATION = "forward passes of a device for an optimizer step"
_REPLAY = "data.replay: batches that each epoch repeats; absent in a real training"
_TOP1 = "validation top-1, measured as the recipe says; null in an epoch without a validation"
_TOP5 = "validation top-5, measured as the recipe says"
_TOP1_BARE, _TOP5_BARE = "validation top-1 without TTA", "validation top-5 without TTA"
_LOW, _HIGH = "lower end of its 90% interval", "upper end of its 90% interval"
_VAL_LOSS = "mean validation cross-entropy, without label smoothing; an image counts at most 691"
_MEAN_CLASS = (
    "mean of the classes' top-1; only where the largest has more than 5 times the images of the smallest"
)


@dataclass(frozen=True, kw_only=True)
class StartLine(LogLine):
    """A run starts or is resumed: network, data, versions, machine."""

    kind: ClassVar[str] = "start"
    schema: int | None = log_field("version of this schema; absent (0) in older logs")
    device: str | None = log_field("device type: cpu or cuda")
    precision: str | None = log_field("number format of the forward pass: fp32, bf16 or fp16")
    world_size: int | None = log_field("number of ranks (processes)")
    num_classes: int | None = log_field("classes of the data set")
    classes_known: bool | None = log_field("whether the files name their classes")
    classes: str | None = log_field(
        "number of the classes and crc32 of their names in label order; absent where they are not known"
    )
    train_data: str | None = log_field(
        "number of the training file's images and crc32 of their labels, sizes and checksums"
    )
    val_data: str | None = log_field(
        "number of the validation images and crc32 of their labels, sizes and checksums: runs on other data have "
        "another one"
    )
    class_images: list[int] | None = log_field(
        "training images of each class in label order; only where the largest has more than 5 times the images of the "
        "smallest"
    )
    arch: str | None = log_field("the network's name (model.arch)")
    parameters: int | None = log_field("the network's parameters")
    stage: int | None = log_field(_STAGE)
    stages: int | None = log_field(_STAGES)
    earlier_seconds: float | None = log_field(_EARLIER, unit=SECONDS)
    global_batch: int | None = log_field(_GLOBAL_BATCH, unit="images")
    device_batch: int | None = log_field(_DEVICE_BATCH, unit="images")
    accumulation: int | None = log_field(_ACCUMULATION)
    resumed_at_epoch: int | None = log_field(
        "epochs before the one that the checkpoint is in; absent in a new run"
    )
    resumed_at_step: int | None = log_field("finished steps of that epoch")
    resident_gb: float | None = log_field(
        "records of the training file that the first rank's device holds (data.resident); absent: none",
        unit="GB",
    )
    order_parts: int | None = log_field(
        "parts of the training images that the order draws equally from, one for each rank; absent: the order is that "
        "of the whole"
    )
    replay: int | None = log_field(_REPLAY, unit="batches")
    setup_seconds: float | None = log_field(
        "time from the start of the process to the first step, or to the copy of resident data; elapsed_seconds "
        "includes it",
        unit=SECONDS,
    )
    family: str | None = log_field("plan.family: the family that predictions are from; absent without one")
    predicted_top1: float | None = log_field("top-1 that the family predicts for this length", unit=SHARE)
    predicted_top1_low: float | None = log_field(_LOW, unit=SHARE)
    predicted_top1_high: float | None = log_field(_HIGH, unit=SHARE)
    predicted_seconds: float | None = log_field("plan.minutes: the predicted time of the run", unit=SECONDS)
    predicted_seconds_low: float | None = log_field(_LOW, unit=SECONDS)
    predicted_seconds_high: float | None = log_field(_HIGH, unit=SECONDS)
    num_train: int | None = log_field("training images, without those held out", unit="images")
    num_val: int | None = log_field("validation images", unit="images")
    versions: dict[str, str | None] | None = log_field("version by package; null: not installed")
    machine: Machine | None = log_field("the machine")
    revision: Revision | None = log_field("git revision of the source; null outside a git checkout")
    command: list[str] | None = log_field("the command line, from the script's name on")
    name: str | None = log_field("the run folder's name")
    recipe: str | None = log_field("the recipe's name")
    folder: str | None = log_field("the run folder's path as given")


@dataclass(frozen=True, kw_only=True)
class StepsLine(LogLine):
    """The last 50 steps, or at the end of an epoch the remaining ones."""

    kind: ClassVar[str] = "steps"
    epoch: int = log_field("the epoch, from 1", required=True)
    step: int = log_field("finished steps of the epoch", required=True)
    steps: int | None = log_field("steps of the whole epoch")
    global_step: int | None = log_field("optimizer steps since the run began")
    train_loss: float | None = log_field("mean training loss of these steps", unit=_LOSS)
    lr: float | None = log_field("learning rate of the last of them")


@dataclass(frozen=True, kw_only=True)
class EpochLine(LogLine):
    """An epoch is finished and, unless logging.log_level is 0, validated."""

    kind: ClassVar[str] = "epoch"
    epoch: int = log_field("the epoch, from 1", required=True)
    epochs: int | None = log_field("epochs of the run, or of its stage")
    train_loss: float | None = log_field("mean training loss; null: not finite", unit=_LOSS)
    lr: float | None = log_field("learning rate at the epoch's end")
    lr_peak: float | None = log_field("highest learning rate within the epoch")
    resolution: int | None = log_field("side of the training images", unit=PIXELS)
    global_batch: int | None = log_field(_GLOBAL_BATCH, unit="images")
    device_batch: int | None = log_field(_DEVICE_BATCH, unit="images")
    accumulation: int | None = log_field(_ACCUMULATION)
    images: int | None = log_field("images trained on, without those skipped", unit="images")
    length: float | None = log_field(
        "epochs of the run in all as planned now, with budget.adapt or training.timeline", unit="epochs"
    )
    schedule: float | None = log_field("share of the schedule that is done at the epoch's end", unit=SHARE)
    skipped: int | None = log_field("corrupt images that were skipped", unit="images")
    skipped_steps: int | None = log_field("steps skipped because of non-finite gradients")
    images_per_second: float | None = log_field("training images per second, all devices", unit="images/s")
    data_wait_seconds: float | None = log_field("time rank 0 waited for data", unit=SECONDS)
    compute_seconds: float | None = log_field("train_seconds without data_wait_seconds", unit=SECONDS)
    train_seconds: float | None = log_field(
        "time of training, without compiling and validation", unit=SECONDS
    )
    compile_seconds: float | None = log_field(
        "time of torch.compile for the epoch and its validation", unit=SECONDS
    )
    host_memory_mb: float | None = log_field("peak host memory of rank 0 so far", unit=MIB)
    device_memory_mb: float | None = log_field(
        "peak GPU memory of rank 0 so far (mps: what Metal has reserved); null on a CPU", unit=MIB
    )
    limited_by: str | None = log_field("stage that set the pace: download, disk, decode, copy or step")
    limits: Limits | None = log_field("the figures behind limited_by; absent if no batch was left")
    replay: int | None = log_field(_REPLAY, unit="batches")
    ema_top1: float | None = log_field(f"{_TOP1}; of the averaged weights", unit=SHARE)
    ema_top5: float | None = log_field(f"{_TOP5}; of the averaged weights", unit=SHARE)
    ema_top1_no_tta: float | None = log_field(f"{_TOP1_BARE}; of the averaged weights", unit=SHARE)
    ema_top5_no_tta: float | None = log_field(f"{_TOP5_BARE}; of the averaged weights", unit=SHARE)
    ema_val_loss: float | None = log_field(f"{_VAL_LOSS}; of the averaged weights", unit=_LOSS)
    ema_mean_class_top1: float | None = log_field(f"{_MEAN_CLASS}; of the averaged weights", unit=SHARE)
    val_seconds: float | None = log_field("time of validation", unit=SECONDS)
    val_resolution: int | None = log_field("side of the validation images", unit=PIXELS)
    top1: float | None = log_field(_TOP1, unit=SHARE)
    top5: float | None = log_field(_TOP5, unit=SHARE)
    top1_no_tta: float | None = log_field(_TOP1_BARE, unit=SHARE)
    top5_no_tta: float | None = log_field(_TOP5_BARE, unit=SHARE)
    val_loss: float | None = log_field(_VAL_LOSS, unit=_LOSS)
    mean_class_top1: float | None = log_field(_MEAN_CLASS, unit=SHARE)
    elapsed_seconds: float | None = log_field(
        "time since the run began: set-up, training, validation and saving", unit=SECONDS
    )
    stage: int | None = log_field(_STAGE)
    stages: int | None = log_field(_STAGES)
    earlier_seconds: float | None = log_field(_EARLIER, unit=SECONDS)


@dataclass(frozen=True, kw_only=True)
class ReplanLine(LogLine):
    """budget.adapt changed the length of the run, since it would have ended late or early."""

    kind: ClassVar[str] = "replan"
    at: float = log_field("finished epochs at the change", unit="epochs", required=True)
    length: float = log_field("epochs of the run in all from now on", unit="epochs", required=True)
    length_before: float | None = log_field("epochs of the run in all before the change", unit="epochs")
    validations: str | None = log_field("validations from now on: all, or last (only the last one)")
    reason: str | None = log_field("why, as a sentence")
    seconds_left: float | None = log_field("time left of the budget at the change", unit=SECONDS)
    late_seconds: float | None = log_field(
        "how late the run would have ended without the change; negative: early", unit=SECONDS
    )
    images_per_second: float | None = log_field("speed of training at the change", unit="images/s")
    predicted_seconds: float | None = log_field(
        "predicted time of the whole run after the change", unit=SECONDS
    )
    predicted_top1: float | None = log_field("top-1 that the family predicts for the new length", unit=SHARE)
    predicted_top1_low: float | None = log_field(_LOW, unit=SHARE)
    predicted_top1_high: float | None = log_field(_HIGH, unit=SHARE)
    elapsed_seconds: float | None = log_field("time since the run began", unit=SECONDS)
    stage: int | None = log_field(_STAGE)


@dataclass(frozen=True, kw_only=True)
class AlarmLine(LogLine):
    """The accuracy is far below that of the family's other runs at this point of the schedule, twice in a row."""

    kind: ClassVar[str] = "alarm"
    epoch: int = log_field("the epoch, from 1", required=True)
    top1: float | None = log_field("validation top-1 of this run", unit=SHARE)
    expected: float | None = log_field("mean top-1 of the family's runs at this point", unit=SHARE)
    spread: float | None = log_field("standard deviation between the family's runs there", unit=SHARE)
    z: float | None = log_field("(top1 - expected) / spread")
    causes: list[str] | None = log_field("likely causes, the likeliest first, each with what was found")


@dataclass(frozen=True, kw_only=True)
class ResultLine(LogLine):
    """A run is finished: its accuracies, how they were measured, and whether the target was met."""

    kind: ClassVar[str] = "result"
    replay: int | None = log_field(_REPLAY, unit="batches")
    top1: float | None = log_field("validation top-1, measured as the recipe says", unit=SHARE)
    top5: float | None = log_field(_TOP5, unit=SHARE)
    top1_no_tta: float | None = log_field(_TOP1_BARE, unit=SHARE)
    top5_no_tta: float | None = log_field(_TOP5_BARE, unit=SHARE)
    val_loss: float | None = log_field(_VAL_LOSS, unit=_LOSS)
    mean_class_top1: float | None = log_field(_MEAN_CLASS, unit=SHARE)
    plain_top1: float | None = log_field("top-1 at plain_resolution, without TTA", unit=SHARE)
    plain_top5: float | None = log_field("top-5 at plain_resolution, without TTA", unit=SHARE)
    plain_resolution: int | None = log_field("resolution of the images behind plain_top1", unit=PIXELS)
    plain_ratio: float | None = log_field("side of the crop / short side of the image, for plain_top1")
    plain_crop_law: str | None = log_field(
        "how its crop is made: torchvision; null: fused, as before there was a choice"
    )
    val_resolution: int | None = log_field("resolution of the images behind top1", unit=PIXELS)
    val_ratio: float | None = log_field("side of the crop / short side of the image, for top1")
    val_crop_law: str | None = log_field(
        "how its crop is made: validation.crop_law; null: fused, as before it was an option"
    )
    tta: bool | None = log_field("whether top1 averages an image and its mirror image")
    num_val: int | None = log_field("validation images that were counted", unit="images")
    elapsed_seconds: float | None = log_field(
        "time of the whole run: set-up, training, validation and saving; 0: only validated",
        unit=SECONDS,
    )
    images_per_second: float | None = log_field("of a replay: mean over the run", unit="images/s")
    target_top1: float | None = log_field("budget.target_top1; null: no target", unit=SHARE)
    budget_seconds: float | None = log_field(
        "the time limit (budget.minutes or hours); null: no limit", unit=SECONDS
    )
    met: bool | None = log_field("whether target and budget were met; null: neither was set")
    time_to_target_seconds: float | None = log_field(
        "from the first training image read to the end of the first validation that reached the target, as MLPerf "
        "counts; null: not reached",
        unit=SECONDS,
    )
    stopped_early: float | None = log_field(
        "budget.stop_at_target: time that ending early saved, as predicted", unit=SECONDS
    )
    replans: int | None = log_field("how often budget.adapt changed the length of the run")
    length: float | None = log_field("epochs trained", unit="epochs")
    cost: float | None = log_field("elapsed time x budget.price; absent without a price")
    verdict: str | None = log_field("the outcome as a sentence: accuracy and time, against the target")
    weights: str | None = log_field("file of the weights in the run's folder; null: none saved")
    weights_note: str | None = log_field("how to load them")
    stage: int | None = log_field(_STAGE)
    stages: int | None = log_field(_STAGES)
    earlier_seconds: float | None = log_field(_EARLIER, unit=SECONDS)
    ema_top1: float | None = log_field("top1 of the averaged weights", unit=SHARE)
    ema_top5: float | None = log_field("top5 of the averaged weights", unit=SHARE)
    ema_top1_no_tta: float | None = log_field("top1_no_tta of the averaged weights", unit=SHARE)
    ema_top5_no_tta: float | None = log_field("top5_no_tta of the averaged weights", unit=SHARE)
    ema_val_loss: float | None = log_field("val_loss of the averaged weights", unit=_LOSS)
    ema_mean_class_top1: float | None = log_field("mean_class_top1 of the averaged weights", unit=SHARE)
    ema_plain_top1: float | None = log_field("plain_top1 of the averaged weights", unit=SHARE)
    ema_plain_top5: float | None = log_field("plain_top5 of the averaged weights", unit=SHARE)
    weights_ema: str | None = log_field("file of the averaged weights in the run's folder")
    search: list[SearchedResolution] | None = log_field("validation.search: accuracy by side, best first")
    evaluation: Evaluation | None = log_field("of a run that only validates: as in evaluation.json")


@dataclass(frozen=True, kw_only=True)
class OtherLine(LogLine):
    """A line of a kind that this version does not know; all of it is in `extra`."""

    def to_json(self) -> Json:
        """The line as it was read."""
        return self.extra


LINES: dict[str, type[LogLine]] = {
    line.kind: line for line in (StartLine, StepsLine, EpochLine, ReplanLine, AlarmLine, ResultLine)
}


def line_of(content: Json) -> LogLine:
    """The line that a JSON object is. Raises TypeError for a value of a type that its key never has."""
    kind = content.get("kind")
    if kind is not None and not isinstance(kind, str):
        raise TypeError(f"kind is {kind!r}")
    if kind not in LINES:
        return OtherLine(extra=content)
    return LINES[kind].from_json(content)


class Validated(Protocol):
    """The figures of a validation (engine.train.evaluation.accuracy.Accuracy)."""

    @property
    def top1(self) -> float: ...
    @property
    def top5(self) -> float: ...
    @property
    def top1_no_tta(self) -> float: ...
    @property
    def top5_no_tta(self) -> float: ...
    @property
    def loss(self) -> float: ...
    @property
    def mean_class_top1(self) -> float | None: ...


def validation_fields(found: Validated | None, prefix: str = "") -> dict[str, Any]:
    """The fields of a validation, None where there was none; `prefix`: "ema_" for averaged weights.

    The mean over classes is one of them only where it was measured.
    """
    mean = found and found.mean_class_top1
    return {
        f"{prefix}top1": found and found.top1,
        f"{prefix}top5": found and found.top5,
        f"{prefix}top1_no_tta": found and found.top1_no_tta,
        f"{prefix}top5_no_tta": found and found.top5_no_tta,
        f"{prefix}val_loss": found and found.loss,
        **({} if mean is None else {f"{prefix}mean_class_top1": mean}),
    }
