"""What a log says, read back: its lines, the run that they tell of, and sums over its epochs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from engine.errors import describe_os_error

Line = dict[str, Any]

# What is reckoned with: null or, by name, a number, a text or a table. Other names may hold anything.
_NUMBERS = (
    *("epoch", "epochs", "step", "steps", "stage", "stages", "resumed_at_epoch", "resumed_at_step", "images"),
    *("top1", "top5", "top1_no_tta", "top5_no_tta", "train_loss", "val_loss", "lr", "lr_peak"),
    *("ema_top1", "ema_top5", "plain_top1", "plain_top5", "ema_plain_top1", "ema_plain_top5", "target_top1"),
    *("resolution", "val_resolution", "plain_resolution", "val_ratio", "plain_ratio", "images_per_second"),
    *("train_seconds", "val_seconds", "elapsed_seconds", "data_wait_seconds", "compute_seconds"),
    *("budget_seconds", "earlier_seconds", "host_memory_mb", "device_memory_mb"),
)
_TEXTS = ("kind", "limited_by")
_TABLES = ("versions", "machine", "revision", "limits", "evaluation")
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_NUMBERS, (int, float, NoneType)),
    **dict.fromkeys(_TEXTS, (str, NoneType)),
    **dict.fromkeys(_TABLES, (dict, NoneType)),
    "command": (list, NoneType),
}


@dataclass(frozen=True, kw_only=True)
class History:
    """One run: how it started, its epochs in order and the steps within them, and its result once there is one."""

    start: Line = field(default_factory=dict)
    epochs: list[Line] = field(default_factory=list)
    steps: list[Line] = field(default_factory=list)
    result: Line | None = None
    resumed_at: list[int] = field(default_factory=list)

    @property
    def validated(self) -> list[Line]:
        """The epochs that were followed by a validation."""
        return [epoch for epoch in self.epochs if epoch.get("top1") is not None]


def build_history(lines: list[Line]) -> History:
    """The run that `lines` tell of.

    A run that went on after an interruption repeats what came after its last checkpoint: the later telling
    counts, and a result from before it does not.
    """
    start: Line = {}
    epochs: dict[int, Line] = {}
    steps: dict[tuple[int, int], Line] = {}
    result: Line | None = None
    resumed_at: list[int] = []
    for line in lines:
        if line.get("kind") == "start":
            start, result = line, None
            at = line.get("resumed_at_epoch")
            if at is not None:
                resumed_at.append(at)
            epochs = {number: epoch for number, epoch in epochs.items() if number <= (at or 0)}
            reached = ((at or 0) + 1, line.get("resumed_at_step") or 0)
            steps = {place: told for place, told in steps.items() if place <= reached}
        elif line.get("kind") == "epoch" and isinstance(line.get("epoch"), int):
            epochs[line["epoch"]] = line
        elif line.get("kind") == "steps" and all(isinstance(line.get(key), int) for key in ("epoch", "step")):
            steps[line["epoch"], line["step"]] = line
        elif line.get("kind") == "result":
            result = line
    ordered = [epochs[number] for number in sorted(epochs)]
    return History(
        start=start,
        epochs=ordered,
        steps=[steps[place] for place in sorted(steps)],
        result=result,
        resumed_at=resumed_at,
    )


def goal(config: dict[str, Any], result: Line | None) -> tuple[float | None, float | None]:
    """Target (a share) and budget (seconds): the result's once there is one, before it the recipe's."""
    if result is not None:
        return result.get("target_top1"), result.get("budget_seconds")
    budget = config.get("budget", {})
    return budget.get("target_top1") or None, 60 * (budget.get("minutes") or 0) or None


def mean_throughput(epochs: Sequence[Line]) -> float | None:
    """Training images per second of training time over all epochs."""
    seconds = total(epochs, "train_seconds")
    return total(epochs, "images") / seconds if seconds else None


def waiting_share(epochs: Sequence[Line]) -> float | None:
    """Share of the training time in which the step waited for data; None where that was not measured."""
    measured = [epoch for epoch in epochs if epoch.get("data_wait_seconds") is not None]
    seconds = total(measured, "train_seconds")
    return total(measured, "data_wait_seconds") / seconds if seconds else None


def total(epochs: Sequence[Line], key: str) -> float:
    """Sum over the epochs, unknown values counting as nothing."""
    return float(sum(epoch.get(key) or 0 for epoch in epochs))


def read_log(path: Path) -> tuple[list[Line], int]:
    """The lines of a log file, and how many could not be read. Raises UserError when the file can't be."""
    try:
        return parse_log(path.read_bytes())
    except OSError as error:
        raise describe_os_error(error, path, "read the log") from None


def parse_log(content: bytes) -> tuple[list[Line], int]:
    """The lines that are whole, and how many are not (a crash can cut the last one in half) or hold what none does."""
    lines: list[Line] = []
    unreadable = 0
    for row in content.split(b"\n"):
        line = parse_line(row)
        if line is not None and _has_our_types(line):
            lines.append(line)
        elif row.strip():
            unreadable += 1
    return lines, unreadable


def parse_line(row: bytes) -> Line | None:
    """One log line, or None when `row` is not a whole one."""
    try:
        line = json.loads(row)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _has_our_types(line: Line) -> bool:
    return all(isinstance(value, _TYPES.get(key, object)) for key, value in line.items())
