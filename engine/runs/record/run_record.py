"""record.json: what came out of one finished training run, as one JSON object that stands without its folder.

`record_of` makes it from the run's settings and log, so the folder of an older run gives one too, with nulls where its
log lacks a figure. `python -m engine leaderboard` reads it; the keys are in docs/reference/log_schema.md.
"""

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.runs.folder import CONFIG, RECORD, STAGES
from engine.runs.log_fields import Json
from engine.runs.log_reader import History, build_history, mean_throughput, total
from engine.runs.log_schema import LogLine, ResultLine, StartLine
from engine.runs.record.record_schema import RECORD_KIND, RECORD_SCHEMA, DataSet, Predicted, RunRecord

Config = dict[str, dict[str, Any]]

_DATA_SETS = {(1000, 1281167, 50000): "ImageNet-1k", (10, 50000, 10000): "CIFAR-10"}
"""Known by classes, training and validation images. MNIST and Fashion-MNIST have the same numbers."""
_MNIST_SIZED = (10, 60000, 10000)

_NOT_THE_RECIPE = {"logging", "plan", "checkpoint", "reference"}
"""Sections that don't change what is trained."""
_NOT_THE_OPTIONS = {
    *("training.seed", "training.resume", "training.first_stage", "budget.price", "budget.on_alarm"),
    *("data.train_dataset", "data.val_dataset", "data.classes"),
    *("data.cache_folder", "data.cache_gb", "data.storage_options"),
    *("data.num_workers", "data.in_memory", "data.resident", "data.pin_cores"),
}


def record_of(config: Config, lines: Sequence[LogLine]) -> RunRecord | None:
    """The record of the run with this configuration and log.

    None where there is nothing to record: an unfinished run, a stage that is not the last one, data.replay, and a
    run that only validates.
    """
    history = build_history(lines)
    result = history.result
    replayed = result is None or result.replay or result.top1 is None
    if result is None or replayed or not history.epochs or _other(config, "training", "eval_only", False):
        return None
    if result.stages and result.stage != result.stages:
        return None
    first = next((line for line in lines if isinstance(line, StartLine)), history.start)
    start = history.start
    # Pace and predictions of a resumed process are of what was left only.
    began = {name: getattr(first, name) for name in ("setup_seconds", "family")}
    return RunRecord(
        schema=RECORD_SCHEMA,
        name=start.name,
        date=result.time,
        recipe=start.recipe,
        arch=start.arch,
        parameters=start.parameters,
        data=_data_set(config, start),
        **_accuracy(result),
        **_times(history, result),
        **began,
        price=_other(config, "budget", "price", 0.0) or None,
        predicted=_predicted(first),
        epochs=result.length if result.length is not None else float(len(history.epochs)),
        planned_epochs=_other(config, "training", "epochs", None),
        images=round(total(epoch.images for epoch in history.epochs)),
        images_per_second=mean_throughput(history.epochs),
        replans=history.replans,
        alarms=history.alarms,
        resumed=len(history.resumed_at),
        device=start.device,
        precision=start.precision,
        world_size=start.world_size,
        global_batch=start.global_batch,
        machine=start.machine,
        versions=start.versions,
        revision=start.revision,
        seed=_other(config, "training", "seed", None),
        started_from=_started_from(config, start),
        settings=_settings(config, adapted=bool(history.replans)),
        command=_command(start),
    )


def write_record(folder: Path, record: RunRecord) -> None:
    """Write record.json into a run's folder, whole or not at all. Raises UserError where it can't be written."""
    text = json.dumps(record.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(folder / RECORD) as file:
        file.write(f"{text}\n".encode())


def read_record(path: Path) -> RunRecord:
    """The record in a file. Raises UserError, in a line that names the file, for any other or a damaged one."""
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise describe_os_error(error, path, "read the record") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is no JSON; make it again from its run's folder") from None
    if not isinstance(content, dict) or content.get("kind") != RECORD_KIND:
        raise UserError(f"{path} is not the record of a run (its kind is not {RECORD_KIND!r}): leave it out")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > RECORD_SCHEMA:
        raise UserError(
            f"{path} was written by a newer version (schema {schema}, this one reads up to {RECORD_SCHEMA}): update"
        )
    try:
        record = RunRecord.from_json(content)
    except TypeError as error:
        raise UserError(f"{path} is damaged: {error}; make it again from its run's folder") from None
    if fault := record.fault():
        raise UserError(f"{path} is damaged: {fault}; make it again from its run's folder")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _accuracy(result: ResultLine) -> Json:
    """The accuracy that the verdict is about, and how it was measured."""
    averaged = result.ema_top1 is not None
    names = ("top1", "top5", "top1_no_tta", "plain_top1", "plain_top5")
    figures = {name: getattr(result, f"ema_{name}" if averaged else name) for name in names}
    same = (
        *("val_resolution", "val_ratio", "val_crop_law", "tta"),
        *("plain_resolution", "plain_ratio", "plain_crop_law", "num_val"),
    )
    return {**figures, "averaged": averaged, **{name: getattr(result, name) for name in same}}


def _times(history: History, result: ResultLine) -> Json:
    names = ("target_top1", "budget_seconds", "met", "verdict", "elapsed_seconds", "time_to_target_seconds")
    found = {name: getattr(result, name) for name in (*names, "stopped_early", "cost", "stage", "stages")}
    found["train_seconds"] = total(epoch.train_seconds for epoch in history.epochs) or None
    found["val_seconds"] = total(epoch.val_seconds for epoch in history.epochs) or None
    return found


def _predicted(start: StartLine) -> Predicted | None:
    values = {
        name: getattr(start, f"predicted_{name}")
        for name in ("top1", "top1_low", "top1_high", "seconds", "seconds_low", "seconds_high")
    }
    return Predicted(**values) if any(value is not None for value in values.values()) else None


def _data_set(config: Config, start: StartLine) -> DataSet:
    train, val = (str(_other(config, "data", f"{part}_dataset", "")) for part in ("train", "val"))
    return DataSet(
        name=data_set_name(start.num_classes, start.num_train, start.num_val, train, val),
        train_file=Path(train).name or None,
        val_file=Path(val).name or None,
        num_train=start.num_train,
        num_val=start.num_val,
        num_classes=start.num_classes,
    )


def data_set_name(
    classes: int | None, num_train: int | None, num_val: int | None, train: str, val: str
) -> str:
    """What a data set is called: by its numbers where they are a known set's, else by its files (their paths)."""
    counts = classes, num_train, num_val
    if counts in _DATA_SETS:
        return _DATA_SETS[counts]
    if counts == _MNIST_SIZED and "fashion" in f"{train} {val}".lower():
        return "Fashion-MNIST"
    stems = dict.fromkeys(Path(path).stem for path in (train, val) if path)
    return " + ".join(stems) or "unknown data"


def _started_from(config: Config, start: StartLine) -> str | None:
    """None for training from scratch; of several stages the later ones start from weights of the ones before."""
    first = _other(config, "training", "first_stage", 1)
    if start.stages:
        return f"stage {first}" if first > 1 else None
    return Path(str(_other(config, "model", "weights", ""))).name or None


def _settings(config: Config, *, adapted: bool) -> str:
    """A digest of the options that say what is trained. Runs in which it is equal are repeats of each other.

    Of an adapted run config.yaml has its own lengths instead of budget.adapt: two such runs are repeats all the same.
    """
    if adapted:
        training, budget = {**config.get("training", {})}, {**config.get("budget", {})}
        training.pop("timeline", None)
        config = {**config, "training": training, "budget": {**budget, "adapt": True}}
    kept = {
        f"{section}.{key}": value
        for section, options in config.items()
        if section not in _NOT_THE_RECIPE
        for key, value in options.items()
        if f"{section}.{key}" not in _NOT_THE_OPTIONS and value != _default(section, key)
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _default(section: str, key: str) -> Any:
    """An option that is younger than a run's settings has its default there: it must not change the digest."""
    known = TrainConfig.__dataclass_fields__.get(section)
    specs = options_of(known.default_factory) if known else {}  # type: ignore[arg-type]
    return specs[key].default if key in specs else None


def _command(start: StartLine) -> str:
    """The command that repeats the run. Of an adapted run config.yaml has the lengths that it had."""
    folder = Path(start.folder or start.name or ".")
    # Of several stages, stages.yaml beside them is the whole recipe.
    file = folder.parent / STAGES if start.stages else folder / CONFIG
    # The path of one machine is no use on another one.
    file = Path(*file.parts[-2:]) if file.is_absolute() else file
    return shlex.join([*_launch(start), "train_imagenet.py", "-C", str(file)])


def _launch(start: StartLine) -> list[str]:
    world, gpus = start.world_size or 1, (start.machine and start.machine.gpus) or []
    if world == 1:
        return ["python"]
    local = min(world, len(gpus)) if start.device != "cpu" and gpus else world
    hosts = [f"--nnodes={world // local}"] if world > local else []
    return ["torchrun", *hosts, f"--nproc-per-node={local}"]


def _other(config: Config, section: str, key: str, otherwise: Any) -> Any:
    """An option's value; `otherwise` where the settings, of another version, lack it."""
    return config.get(section, {}).get(key, otherwise)
