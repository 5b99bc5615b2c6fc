"""A run's log and settings read back: the run that the lines describe, and sums over its epochs."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine.errors import UserError, describe_os_error
from engine.runs.folder import CONFIG
from engine.runs.log_fields import Json
from engine.runs.log_schema import (
    AlarmLine,
    EpochLine,
    LogLine,
    ReplanLine,
    ResultLine,
    StartLine,
    StepsLine,
    line_of,
)


@dataclass(frozen=True, kw_only=True)
class History:
    """One run: how it started, its epochs in order and the steps within them, and its result once there is one."""

    start: StartLine = field(default_factory=StartLine)
    begun: bool = False
    """Whether there is a start line; without one all of `start` is None."""
    epochs: list[EpochLine] = field(default_factory=list)
    steps: list[StepsLine] = field(default_factory=list)
    result: ResultLine | None = None
    resumed_at: list[int] = field(default_factory=list)
    replans: list[ReplanLine] = field(default_factory=list)
    """Changes of the run's length, in order."""
    alarms: list[AlarmLine] = field(default_factory=list)

    @property
    def validated(self) -> list[EpochLine]:
        """The epochs that were followed by a validation."""
        return [epoch for epoch in self.epochs if epoch.top1 is not None]


def build_history(lines: Iterable[LogLine]) -> History:
    """The run that `lines` describe.

    A resumed run repeats what came after its last checkpoint: the later lines count, and a result from before them
    does not.
    """
    start: StartLine | None = None
    epochs: dict[int, EpochLine] = {}
    steps: dict[tuple[int, int], StepsLine] = {}
    result: ResultLine | None = None
    resumed_at: list[int] = []
    replans: dict[float, ReplanLine] = {}
    alarms: dict[int, AlarmLine] = {}
    for line in lines:
        if isinstance(line, StartLine):
            start, result = line, None
            if line.resumed_at_epoch is not None:
                resumed_at.append(line.resumed_at_epoch)
            counts = counts_before(line, steps.values())
            epochs = {number: epoch for number, epoch in epochs.items() if counts(epoch)}
            alarms = {number: alarm for number, alarm in alarms.items() if counts(alarm)}
            replans = {place: replan for place, replan in replans.items() if counts(replan)}
            steps = {place: told for place, told in steps.items() if counts(told)}
        elif isinstance(line, EpochLine):
            epochs[line.epoch] = line
        elif isinstance(line, StepsLine):
            steps[line.epoch, line.step] = line
        elif isinstance(line, ReplanLine):
            replans[line.at] = line
        elif isinstance(line, AlarmLine):
            alarms[line.epoch] = line
        elif isinstance(line, ResultLine):
            result = line
    return History(
        start=start or StartLine(),
        begun=start is not None,
        epochs=[epochs[number] for number in sorted(epochs)],
        steps=[steps[place] for place in sorted(steps)],
        result=result,
        resumed_at=resumed_at,
        replans=[replans[place] for place in sorted(replans)],
        alarms=[alarms[number] for number in sorted(alarms)],
    )


def counts_before(start: StartLine, steps: Iterable[StepsLine]) -> Callable[[LogLine], bool]:
    """Whether a line that was logged before `start` still counts: what came after its checkpoint is made again.

    `steps` are the lines on steps before it.
    """
    at = start.resumed_at_epoch or 0
    reached = (at + 1, start.resumed_at_step or 0)
    passed = _finished_epochs(reached, steps)

    def counts(line: LogLine) -> bool:
        if isinstance(line, (EpochLine, AlarmLine)):
            return line.epoch <= at
        if isinstance(line, StepsLine):
            return (line.epoch, line.step) <= reached
        # A change at the very place of the checkpoint was made after it was saved: the resumed run decides again.
        return not isinstance(line, ReplanLine) or line.at < passed

    return counts


def _finished_epochs(reached: tuple[int, int], steps: Iterable[StepsLine]) -> float:
    """Epochs that were finished at a place (epoch from 1, finished steps of it), the last one in part."""
    epoch, step = reached
    if not step:
        return float(epoch - 1)
    whole = max((line.steps or 0 for line in steps if line.epoch == epoch), default=0)
    # Of an epoch whose number of steps no line names, some part.
    return epoch - 1 + (min(1.0, step / whole) if whole else 0.5)


def goal(config: dict[str, Any], result: ResultLine | None) -> tuple[float | None, float | None]:
    """Target (a share) and budget (seconds): the result's once there is one, before it the recipe's."""
    if result is not None:
        return result.target_top1, result.budget_seconds
    budget = config.get("budget", {})
    seconds = 60 * (budget.get("minutes") or 0) + 3600 * (budget.get("hours") or 0)
    return budget.get("target_top1") or None, seconds or None


def mean_throughput(epochs: Sequence[EpochLine]) -> float | None:
    """Training images per second of training time over all epochs."""
    seconds = total(epoch.train_seconds for epoch in epochs)
    return total(epoch.images for epoch in epochs) / seconds if seconds else None


def waiting_share(epochs: Sequence[EpochLine]) -> float | None:
    """Share of the training time in which the step waited for data; None where that was not measured."""
    measured = [epoch for epoch in epochs if epoch.data_wait_seconds is not None]
    seconds = total(epoch.train_seconds for epoch in measured)
    return total(epoch.data_wait_seconds for epoch in measured) / seconds if seconds else None


def total(values: Iterable[float | None]) -> float:
    """The sum, unknown values counting as nothing."""
    return float(sum(value or 0 for value in values))


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.yaml, by section. Raises UserError for any other file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise describe_os_error(error, path, "read the run's settings") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise UserError(f"{path} is not a run's {CONFIG}: pass the folder of a run")
    return content


def read_log(path: Path) -> tuple[list[LogLine], int]:
    """The lines of a log file, and how many could not be read. Raises UserError when the file can't be."""
    try:
        return parse_log(path.read_bytes())
    except OSError as error:
        raise describe_os_error(error, path, "read the log") from None


def parse_log(content: bytes) -> tuple[list[LogLine], int]:
    """The lines that are whole, and how many are not (a crash can cut the last one) or break the schema."""
    lines: list[LogLine] = []
    unreadable = 0
    for row in content.split(b"\n"):
        line = parse_line(row)
        if line is not None:
            lines.append(line)
        elif row.strip():
            unreadable += 1
    return lines, unreadable


def parse_line(row: bytes) -> LogLine | None:
    """One line of a log; None where it is not whole, or has a value of a type that its key never has."""
    content = parse_object(row)
    if content is None:
        return None
    try:
        return line_of(content)
    except TypeError:
        return None


def parse_object(row: bytes) -> Json | None:
    """The JSON object that `row` is, or None when it is not a whole one."""
    try:
        content = json.loads(row)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
