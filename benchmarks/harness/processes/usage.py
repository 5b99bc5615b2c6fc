"""What processes and the machine used: CPU time, load, and time that the machine's host took from it."""

import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import psutil


def cpu_seconds() -> float:
    """CPU time of this process and, to a hundredth of a second, of those that it started."""
    # Those that have ended, then those that still run.
    total = time.process_time() + os.times().children_user + os.times().children_system
    for helper in descendants(os.getpid()):
        with suppress(psutil.NoSuchProcess):
            times = helper.cpu_times()
            total += times.user + times.system
    return total


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that this one started, and those that they started."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def busy_seconds() -> float:
    """CPU seconds that the machine has worked, or its host has taken from it, since it was started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.steal)


def load_averages() -> list[float]:
    """Processes that were running or waiting, over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


class MachineLoad:
    """Use as a context manager around a comparison; `facts` is for its record."""

    def __init__(self, cores: int) -> None:
        """`cores`: how many of this process's cores the sides are pinned to."""
        self._pinned = sorted(os.sched_getaffinity(0))[:cores]
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> "MachineLoad":
        self._before, self._steal, self._begin = load_averages(), psutil.cpu_times().steal, time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = max(time.monotonic() - self._begin, 1e-3)
        self.facts = {
            "pinned_to": self._pinned,
            "load": {
                "average_before": self._before,
                "average_after": load_averages(),
                "stolen_cores": round((psutil.cpu_times().steal - self._steal) / seconds, 3),
            },
        }
