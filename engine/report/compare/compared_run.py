"""A run folder as it is compared with others: its stages' settings and logs, its accuracy by time, epochs and images.

A run of several stages is one curve: epochs, images and seconds are counted through all its stages.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.runs.folder import CONFIG, LOG, stages_with
from engine.runs.log_reader import History, build_history, goal, mean_throughput, read_config, read_log
from engine.runs.log_schema import EpochLine, ResultLine

Config = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A validation: its top-1 (shares), and the epochs, images and seconds of the run before it."""

    epoch: int
    images: int
    seconds: float
    top1: float
    ema_top1: float | None

    @property
    def judged(self) -> float:
        """What the run's verdict is about: the average of the weights where one is kept."""
        return self.top1 if self.ema_top1 is None else self.ema_top1


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run. `stages` has the settings and the history of each stage that was begun, in order."""

    name: str
    folder: Path
    stages: Sequence[tuple[Config, History]]
    measured: Sequence[Measured]

    @property
    def result(self) -> ResultLine | None:
        """That of the last of all stages, once there is one."""
        last = self.stages[-1][1]
        return last.result if self._stage() == self._all_stages() else None

    @property
    def epochs(self) -> list[EpochLine]:
        """Those of all stages in order; each counts its stage's own."""
        return [epoch for _, history in self.stages for epoch in history.epochs]

    @property
    def seconds(self) -> float | None:
        """Training and validation, all stages' together; None where nothing was trained yet."""
        lines: list[EpochLine | ResultLine] = [*self.epochs, *([self.result] if self.result else [])]
        return lines[-1].elapsed_seconds if lines else None

    @property
    def throughput(self) -> float | None:
        """Training images per second of training time."""
        return mean_throughput(self.epochs)

    @property
    def has_average(self) -> bool:
        """Whether the average of its weights was validated."""
        return any(point.ema_top1 is not None for point in self.measured)

    @property
    def best(self) -> Measured | None:
        """The validation with the highest accuracy of what is judged; the earliest of equals."""
        return max(self.measured, key=lambda point: point.judged, default=None)

    @property
    def target_seconds(self) -> tuple[float | None, float | None]:
        """The target (a share), and after how many seconds a validation first reached it."""
        target, _ = goal(self.stages[-1][0], self.result)
        reached = (point.seconds for point in self.measured if target and point.judged >= target)
        return target, next(reached, None)

    def state(self) -> str:
        """How far it is, in words."""
        if self.result is not None:
            return "finished"
        stages = self._all_stages()
        stage = f"stage {self._stage()} of {stages}, " if stages > 1 else ""
        history = self.stages[-1][1]
        if history.result is not None:
            return f"{stage}done"
        if not history.epochs:
            return f"{stage}no epoch yet"
        last = history.epochs[-1]
        return f"{stage}epoch {last.epoch} of {last.epochs or '?'}"

    def _stage(self) -> int:
        return self.stages[-1][1].start.stage or 1

    def _all_stages(self) -> int:
        return self.stages[-1][1].start.stages or 1


def read_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs in these folders, each with a name of its own. Raises UserError for a folder that is none."""
    names = _names(folders)
    return [_read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def unlike(runs: Sequence[ComparedRun]) -> str:
    """Why the runs' accuracies can't be ranked, in a sentence; empty where they were validated on the same data."""
    starts = [run.stages[-1][1].start for run in runs]
    counts = {(start.num_val, start.num_classes) for start in starts}
    # A log from before the crc was noted has only the numbers.
    if len(counts) < 2 and len({start.val_data for start in starts if start.val_data}) < 2:
        return ""
    data = ", ".join(
        f"{run.name}: {start.val_data or f'{start.num_val} images'}"
        for run, start in zip(runs, starts, strict=True)
    )
    return f"These runs were validated on different data ({data}): their accuracies can't be ranked."


def _names(folders: Sequence[Path]) -> list[str]:
    """Each folder's own name, with as many of its parents' as tell it from the others; at last with a number."""
    parts = [folder.resolve().parts for folder in folders]
    names: list[str] = []
    for own in parts:
        same = [other for other in parts if other != own]
        depth = next(
            (d for d in range(1, len(own)) if all(other[-d:] != own[-d:] for other in same)), len(own)
        )
        names.append("/".join(own[-depth:]))
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _read_run(folder: Path, name: str) -> ComparedRun:
    parts = [folder] if (folder / LOG).is_file() else stages_with(folder, LOG)
    if not parts:
        raise UserError(f"{folder} is not a run folder: it has no {LOG}; pass the folder of a run")
    told = [(read_config(part / CONFIG), _history(part / LOG)) for part in parts]
    begun = [(config, history) for config, history in told if history.begun]
    if not begun:
        raise UserError(
            f"{folder} is not a run yet: its {LOG} has no start line; wait until it has started, or pass another"
        )
    return ComparedRun(name=name, folder=folder, stages=begun, measured=_measured(begun))


def _history(log: Path) -> History:
    lines, unreadable = read_log(log)
    if unreadable:
        # Not among what is compared, which may go into a file.
        print(f"note: {unreadable} line(s) of {log} are incomplete and were left out", file=sys.stderr)
    return build_history(lines)


def _measured(stages: Sequence[tuple[Config, History]]) -> list[Measured]:
    found, epochs, images = [], 0, 0
    for _, history in stages:
        before = epochs
        for epoch in history.epochs:
            epochs, images = before + epoch.epoch, images + (epoch.images or 0)
            if epoch.top1 is not None and epoch.elapsed_seconds is not None:
                found.append(
                    Measured(
                        epoch=epochs,
                        images=images,
                        seconds=epoch.elapsed_seconds,
                        top1=epoch.top1,
                        ema_top1=epoch.ema_top1,
                    )
                )
    return found
