"""A disturbance on purpose: processes that compete for the cores of a run, as another job on the machine would.

One process on each core, at this process's own priority, which works half of the time: a run that keeps all of these
cores busy is left with about half of each. (One that works all the time takes more than half: a training run's threads
wait for each other, and leave their share to it.) No cgroup is used: that needs rights that a container seldom has.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

# It looks at its parent every few milliseconds of work, so it ends even if the parent was killed and could not end it.
_SPIN = """
import os, sys, time
parent, core = map(int, sys.argv[1:3])
share = float(sys.argv[3])
os.sched_setaffinity(0, {core})
begin, used = time.monotonic(), time.process_time()
while os.getppid() == parent:
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        pass
    ahead = (time.process_time() - used) / share - (time.monotonic() - begin)
    if ahead > 0:
        time.sleep(ahead)
"""

TAKEN = 0.5
"""Of each core's time, at most."""


class Disturbance:
    """Use as a context manager around the time to disturb; `facts` is for the record of what was disturbed."""

    def __init__(self, cores: Sequence[int] | None = None) -> None:
        """`cores`: numbers of the cores to take half of; None: all that this process may use."""
        self._cores = sorted(os.sched_getaffinity(0) if cores is None else cores)
        self.processes: list[psutil.Popen] = []
        """Those that run now."""
        self.facts: dict[str, Any] = {}
        """After the block: the cores, its seconds, and the share of the cores' time that the processes took."""

    def __enter__(self) -> "Disturbance":
        self._begin = time.monotonic()
        try:
            for core in self._cores:
                self.processes.append(_busy_process(core))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._begin
        taken = self._end()
        self.facts = {
            "how": f"one process at normal priority on each of {len(self._cores)} cores, busy {TAKEN:.0%} of the time",
            "cores": self._cores,
            "seconds": round(seconds, 1),
            "share_taken": round(taken / (seconds * len(self._cores)), 3),
        }

    def _end(self) -> float:
        """End the processes; returns the CPU seconds that they took."""
        taken = 0.0
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                taken += times.user + times.system
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes = []
        return taken


@dataclass(frozen=True, kw_only=True)
class TimedRun:
    """A process that has ended."""

    code: int
    seconds: float
    """From its start to its exit, by the clock of this process."""
    disturbance: dict[str, Any] | None
    """Facts of the disturbance; None where there was none, or the process ended before it began."""


def timed_run(command: Sequence[str], folder: Path, disturb: tuple[float, float] | None = None) -> TimedRun:
    """Run a command in `folder`, disturbed between two moments in seconds after its start if `disturb` is given."""
    begin, facts = time.monotonic(), None
    process = subprocess.Popen(command, cwd=folder)
    try:
        if disturb is not None and not _ends_within(process, disturb[0]):
            with Disturbance() as disturbance:
                _ends_within(process, disturb[1] - disturb[0])
            facts = {"from_second": disturb[0], **disturbance.facts}
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return TimedRun(code=code, seconds=time.monotonic() - begin, disturbance=facts)


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def _busy_process(core: int) -> psutil.Popen:
    command = [sys.executable, "-I", "-S", "-c", _SPIN, str(os.getpid()), str(core), str(TAKEN)]
    # A session of its own: Ctrl-C at the terminal is for the run, and this ends with the block.
    return psutil.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
