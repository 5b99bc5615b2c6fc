"""Logs as the trainer writes them, for the report's tests: made by formula, so every figure is known."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from engine.config.load import to_dict
from engine.config.train.train_config import DataConfig, LoggingConfig, TrainConfig, TrainingConfig
from engine.report.run import run_page
from engine.report.terminal import summary
from engine.runs.log_fields import JsonTable
from engine.runs.log_reader import parse_log
from engine.runs.log_schema import EpochLine, LogLine, ResultLine, StartLine, StepsLine

Line = dict[str, Any]
Table = TypeVar("Table", bound=JsonTable)


def run_config(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A resolved configuration, with some options replaced."""
    config = to_dict(TrainConfig(data=DataConfig(train_dataset="train.beton", val_dataset="val.beton")))
    for section, options in sections.items():
        config[section] |= options
    return config


def start_line(**changes: Any) -> Line:
    """The first line of a log."""
    return {
        "kind": "start",
        "time": "2026-11-21T12:00:00+00:00",
        "device": "cuda",
        "precision": "bf16",
        "world_size": 8,
        "global_batch": 1024,
        "device_batch": 128,
        "accumulation": 1,
        "num_train": 1281167,
        "num_val": 50000,
        "num_classes": 1000,
        "classes_known": True,
        "arch": "resnet50",
        "parameters": 25557032,
        "resumed_at_epoch": None,
        "versions": {
            "python": "3.11.7",
            "torch": "2.15.0",
            "numba": "0.68.1",
            "ffcv": "1.0.2",
            "engine": "0.1.0",
        },
        "machine": {
            "cpu": "Some Processor 9000",
            "cores": 96,
            "memory_gb": 1121.0,
            "gpus": ["NVIDIA H200"] * 8,
        },
        "revision": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
        "command": ["train_imagenet.py", "-C", "rn50_configs/rn50_16_epochs.yaml"],
        "name": "rn50_16_epochs-20261121-120000",
        "recipe": "rn50_16_epochs",
        "folder": "runs/rn50_16_epochs-20261121-120000",
        **changes,
    }


def epoch_lines(
    epochs: int,
    *,
    seconds: float = 56.0,
    top1: float = 0.74,
    sizes: tuple[int, int] = (160, 192),
    **changes: Any,
) -> list[Line]:
    """`epochs` epochs of about `seconds` each that end at `top1`."""
    lines, elapsed = [], 0.0
    for number in range(1, epochs + 1):
        share = number / epochs
        size = round((sizes[0] + max(0.0, (share - 0.6) / 0.4) * (sizes[1] - sizes[0])) / 32) * 32
        train, val = seconds * (size / sizes[0]) ** 2 * (1.08 if number == 1 else 1), 0.11 * seconds
        wait = 0.3 * train if number == 1 else (0.02 + 0.01 * math.sin(number)) * train
        elapsed += train + val
        accuracy = top1 * (1 - 0.86 * math.exp(-4.5 * share)) / (1 - 0.86 * math.exp(-4.5))
        lines.append(
            {
                "kind": "epoch",
                "time": f"2026-11-21T12:{number % 60:02d}:00+00:00",
                "epoch": number,
                "epochs": epochs,
                "train_loss": 1.9 + 4.4 * math.exp(-3.2 * share),
                "val_loss": 1.5 + 4.0 * math.exp(-3.6 * share),
                "top1": accuracy,
                "top5": 1 - (1 - accuracy) ** 1.9,
                "top1_no_tta": accuracy - 0.006,
                "top5_no_tta": 1 - (1 - accuracy + 0.006) ** 1.9,
                "lr": 1.7 * min(number / 2, (epochs - number) / max(1, epochs - 2)),
                "lr_peak": 1.7 * min(number / 2, (epochs - number + 1) / max(1, epochs - 2), 1),
                "resolution": size,
                "val_resolution": 256,
                "images": 1281024,
                "images_per_second": 1281024 / train,
                "data_wait_seconds": wait,
                "compute_seconds": train - wait,
                "train_seconds": train,
                "val_seconds": val,
                "elapsed_seconds": elapsed,
                **limits_entry(train, wait),
                "host_memory_mb": 6120.4,
                "device_memory_mb": 21034.2,
                **changes,
            }
        )
    return lines


def steps_lines(epoch: int, losses: list[float], **changes: Any) -> list[Line]:
    """What the log says of the steps of an epoch, 50 of them a line."""
    return [
        {
            "kind": "steps",
            "time": "2026-11-21T12:00:30+00:00",
            "epoch": epoch,
            "step": 50 * number,
            "steps": 50 * len(losses),
            "global_step": 50 * ((epoch - 1) * len(losses) + number),
            "train_loss": loss,
            "lr": 0.5,
            **changes,
        }
        for number, loss in enumerate(losses, start=1)
    ]


def limits_entry(train: float, wait: float, stage: str = "step") -> Line:
    """What an epoch of 8 GPUs says of its limits."""
    return {
        "limited_by": stage,
        "limits": {
            "words": f"{stage}: it waited for data {wait / train:.0%} of the time; data could come 1.9 times as fast",
            "advice": "training.compile, a lower precision, a smaller network or resolution, or a faster device",
            "idle_seconds": wait,
            "step_seconds": train - wait,
            "decode_cpu_seconds": 4.2 * train,
            "decode_cpu_ms_per_image": 1.53,
            "decode_queue_seconds": 0.4,
            "read_seconds": 0.0,
            "window_seconds": 0.0,
            "fill_seconds": 0.52 * train,
            "copy_seconds": 0.11 * train,
            "disk_bytes": 0.0,
            "record_bytes": 2.1e10,
            "ready": 0.93,
            "process_cpu_seconds": 5.0 * train,
            "workers": 12,
            "cores": 12,
        },
    }


def result_line(last: Line, **changes: Any) -> Line:
    """The result of a run whose last epoch is `last`."""
    return {
        "kind": "result",
        "time": "2026-11-21T13:00:00+00:00",
        **{
            key: last[key]
            for key in ("top1", "top5", "top1_no_tta", "top5_no_tta", "val_loss", "elapsed_seconds")
        },
        "plain_top1": last["top1"] - 0.0143,
        "plain_top5": last["top5"] - 0.0061,
        "plain_resolution": 224,
        "plain_ratio": 0.875,
        "val_resolution": 256,
        "val_ratio": 0.875,
        "tta": True,
        "num_val": 50000,
        "target_top1": 0.735,
        "budget_seconds": 1200,
        "met": True,
        "verdict": "target met: 74.00% top-1 in 17 min 30 s (target 73.50% within 20 min 00 s)",
        "weights": "weights.pt",
        "weights_note": "load with strict=True into torchvision.models.resnet50",
        **changes,
    }


def whole_log(epochs: int = 16, **result: Any) -> list[Line]:
    """A finished run from start to result."""
    lines = epoch_lines(epochs)
    return [start_line(), *lines, result_line(lines[-1], **result)]


def demo_log(**result: Any) -> list[Line]:
    """A short run on a processor, as the speedrun is one."""
    lines = epoch_lines(5, seconds=27, top1=0.9231, sizes=(24, 28), device_memory_mb=None, val_resolution=28)
    for line, accuracy in zip(lines, (0.842, 0.8815, 0.9006, 0.9158, 0.9231), strict=True):
        line |= {"images": 59904, "resolution": 24}
        line |= {"top1": accuracy, "top1_no_tta": accuracy - 0.0031, "host_memory_mb": 1312.0}
        line |= {"train_loss": 1.4 - 0.6 * accuracy, "val_loss": 1.25 - accuracy}
    clock = 0.0
    for line in lines:
        train = 27.9 if line["epoch"] == 1 else 24.6
        wait = 4.1 if line["epoch"] == 1 else 0.6
        clock += train + 1.9
        line |= {"train_seconds": train, "val_seconds": 1.9, "images_per_second": 59904 / train}
        line |= {"data_wait_seconds": wait, "compute_seconds": train - wait, "elapsed_seconds": clock}
    lines[-1]["resolution"] = 28
    budget = {
        "target_top1": 0.92,
        "budget_seconds": 180.0,
        "num_val": 10000,
        "plain_resolution": 28,
        "plain_ratio": 1,
    }
    last = result_line(lines[-1], **budget, val_resolution=28, val_ratio=1.0)
    last |= {
        "plain_top1": last["top1_no_tta"],
        "verdict": "target met: 92.31% top-1 in 2 min 16 s (target 92.00% within 3 min 00 s)",
        "weights_note": "load with strict=True into engine.models.build.build_model('small_resnet', ...)",
    }
    cpu = {"cpu": "Some Processor 2", "cores": 2, "memory_gb": 8.0, "gpus": []}
    start = start_line(
        device="cpu", world_size=1, num_train=60000, num_val=10000, num_classes=10, machine=cpu
    )
    start |= {"arch": "small_resnet", "recipe": "demo", "name": "demo-1", "folder": "runs/demo-1"}
    start |= {"command": ["train_imagenet.py", "-C", "rn18_configs/demo.yaml"], "device_batch": 1024}
    return [start, *lines, last | result]


def replan_line(at: float, before: float, length: float, elapsed: float, **changes: Any) -> Line:
    """A re-plan of a run with a time limit of 20 minutes, which had become late."""
    late = 60.0 * (before - length)
    return {
        "kind": "replan",
        "time": "2026-11-21T12:05:00+00:00",
        "at": at,
        "length": length,
        "length_before": before,
        "validations": "all",
        "reason": "training is slower than planned: 14,100 images/s at 160 px instead of 16,300",
        "seconds_left": 1200 - elapsed,
        "late_seconds": late,
        "images_per_second": 14100.0,
        "predicted_seconds": 1192.0,
        "predicted_top1": 0.734 + (length - 14.25) / 300,
        "predicted_top1_low": 0.731 + (length - 14.25) / 300,
        "predicted_top1_high": 0.738 + (length - 14.25) / 300,
        "elapsed_seconds": elapsed,
        **changes,
    }


def alarm_line(epoch: int, **changes: Any) -> Line:
    """An alarm after an epoch."""
    return {
        "kind": "alarm",
        "time": "2026-11-21T12:04:00+00:00",
        "epoch": epoch,
        "top1": 0.4213,
        "expected": 0.541,
        "spread": 0.006,
        "z": -19.9,
        "causes": [
            "learning rate for the batch: 1.7 for 1024 images is the recipe's own",
            "classes: the training file has 1000, the validation file 1000, in the same order",
        ],
        **changes,
    }


def adapted_log(**result: Any) -> list[Line]:
    """A run of 16 epochs within 20 minutes, shortened after 4 epochs and lengthened again after 8."""
    lines = epoch_lines(15, seconds=60)
    for line in lines:
        line["epochs"] = 16
        line["length"] = 16.0 if line["epoch"] <= 4 else 14.25 if line["epoch"] <= 8 else 15.0
        line["schedule"] = line["epoch"] / 15
    prediction = {
        "family": "rn50-ffcv",
        "predicted_top1": 0.738,
        "predicted_top1_low": 0.734,
        "predicted_top1_high": 0.742,
        "predicted_seconds": 1160.0,
        "predicted_seconds_low": 1100.0,
        "predicted_seconds_high": 1210.0,
        "setup_seconds": 12.5,
    }
    ended = result_line(
        lines[-1],
        time_to_target_seconds=lines[-1]["elapsed_seconds"] - 12.5,
        replans=2,
        length=15.0,
        cost=9.7,
        target_top1=0.735,
        **result,
    )
    first = replan_line(4.0, 16.0, 14.25, lines[3]["elapsed_seconds"])
    second = replan_line(
        8.0,
        14.25,
        15.0,
        lines[7]["elapsed_seconds"],
        reason="training is faster again: 15,400 images/s at 160 px instead of 14,100",
    )
    return [start_line(**prediction), *lines[:4], first, *lines[4:8], second, *lines[8:], ended]


def config_of(folder: Path, *, name: str = "one", resume: str = "", log_level: int = 1) -> TrainConfig:
    """Of a run in this folder."""
    return TrainConfig(
        data=DataConfig(train_dataset="train.beton", val_dataset="val.beton"),
        logging=LoggingConfig(folder=str(folder), name=name, log_level=log_level),
        training=TrainingConfig(resume=resume, weight_decay=5e-5),
    )


def facts() -> dict[str, Any]:
    """What a run says of itself at its start."""
    return {"device": "cpu", "precision": "bf16", "world_size": 1, "resumed_at_epoch": None}


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """The run's log.jsonl, which must be JSON to the letter."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    rows = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(row, parse_constant=refuse) for row in rows]


def parsed(lines: Sequence[Line]) -> list[LogLine]:
    """The lines as they are read back from a log; what can't be read is left out."""
    return parse_log(b"".join(json.dumps(line).encode() + b"\n" for line in lines))[0]


def render(config: dict[str, Any], lines: Sequence[Line]) -> str:
    """The page of a log of these lines."""
    return run_page.render(config, parsed(lines))


def closing_summary(config: dict[str, Any], lines: Sequence[Line]) -> str:
    """The terminal's summary of a log of these lines."""
    return summary.closing_summary(config, parsed(lines))


def epoch_line(line: Line) -> str:
    """The terminal's line on an epoch."""
    return summary.epoch_line(epoch_of(line))


def start_of(line: Line) -> StartLine:
    """A start line as the trainer makes it; keys that are no fields are kept."""
    return _made(StartLine, line)


def epoch_of(line: Line) -> EpochLine:
    """An epoch's line as the trainer makes it."""
    return _made(EpochLine, line)


def steps_of(line: Line) -> StepsLine:
    """A line on some steps as the trainer makes it."""
    return _made(StepsLine, line)


def result_of(line: Line) -> ResultLine:
    """A result line as the trainer makes it."""
    return _made(ResultLine, line)


def epochs_of(lines: Sequence[Line]) -> list[EpochLine]:
    """The lines of epochs."""
    return [epoch_of(line) for line in lines]


def _made(table: type[Table], line: Line) -> Table:
    return table.from_json({key: value for key, value in line.items() if key != "kind"})
