"""The clock of a run: seconds since its process was started, those of earlier processes and stages included."""

import time
from dataclasses import dataclass

import psutil


def process_start() -> float:
    """When this process was started, on the clock of time.perf_counter."""
    age = time.time() - psutil.Process().create_time()
    return time.perf_counter() - max(0.0, age)


@dataclass(kw_only=True)
class Clock:
    """Started at `start` (time.perf_counter), or when it is made; `earlier` seconds were spent before.

    `began` is when the run was first started (time.time); a resumed run has it from its checkpoint.
    """

    start: float
    earlier: float = 0.0
    began: float = 0.0
    setup: float = 0.0
    """Seconds from the start of the run's first process to its first step."""

    def __post_init__(self) -> None:
        if not self.began:
            self.began = time.time() - self.elapsed()

    def elapsed(self) -> float:
        """Seconds in which the run was running: set-up, training, validation and saving."""
        return self.earlier + time.perf_counter() - self.start

    def used(self, kind: str) -> float:
        """Seconds that count against the time limit, by budget.clock: wall or run."""
        # A system clock that was set back must not give time away.
        return max(self.elapsed(), time.time() - self.began) if kind == "wall" else self.elapsed()
