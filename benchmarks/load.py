"""What else the machine did while something was measured: its load, and time that its host took from it."""

import os
import time
from types import TracebackType
from typing import Any

import psutil


class MachineLoad:
    """Use as a context manager around a comparison; `facts` is for its record."""

    def __init__(self, cores: int) -> None:
        """`cores`: how many of those that this process may use the sides are pinned to."""
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


def load_averages() -> list[float]:
    """Processes that were running or waiting, over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]
