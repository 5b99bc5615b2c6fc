"""What a side's process does: pin itself, open the side, answer questions, and time rounds.

Times that leave the process are those of `time.monotonic`, which is the same clock for all processes of the machine.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.method import Round
from benchmarks.harness.processes.usage import busy_seconds, cpu_seconds
from benchmarks.sides.task import LoadingSide, Task
from engine.errors import UserError

# Batches before the clock starts: more than any loader keeps in flight. ffcv allocates their memory in each epoch, a
# cost that is paid once in an epoch of a million images.
UNTIMED_BATCHES = 6

# A side rests when it uses less than this share of a core for this many seconds; the last figure is the longest wait,
# for a side whose threads poll.
_AT_REST, _REST_CHECK, _LONGEST_REST = 0.2, 0.1, 1.0

# Enough for a loader to be at work on the next batches when the first one is taken.
_FIRST_OF = 4


class Opener(Protocol):
    """What a process runs: benchmarks.sides.Side."""

    def load(self) -> object:
        """Import it, which may take seconds."""
        ...

    def open_side(self, task: Any) -> Any:
        """Make it ready for `task`; the result is the answers' first argument."""
        ...


class Job(Protocol):
    """The part of a task that the process itself needs."""

    @property
    def cores(self) -> int:
        """Cores that it is pinned to."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda; on cpu it sees no GPU."""
        ...


def serve(
    pipe: Connection,
    side_of: Opener,
    task: Job,
    environment: Mapping[str, str],
    answers: Mapping[str, Callable[..., Any]],
) -> None:
    """The child's main function: answer questions until the pipe closes."""
    # Ctrl-C reaches the whole group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A loader's processes start as they would from a shell; by default they would start as this one did.
    multiprocessing.set_start_method("fork", force=True)
    # Before torch and numba are imported, which count the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.cores])
    if task.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.update(environment)
    side: Any = None
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            if what == "load":
                side_of.load()
                pipe.send(("answer", time.monotonic()))
                continue
            side = side or side_of.open_side(task)
            pipe.send(("answer", answers[what](side, task, *arguments)))
        except UserError as error:
            pipe.send(("user error", str(error)))
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            traceback.print_exc()
            pipe.send(("error", f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _settings(side: LoadingSide, task: Task) -> str:
    return side.settings


def _round(side: LoadingSide, task: Task, number: int, batches: int) -> Round:
    epoch = side.epoch(number, UNTIMED_BATCHES + batches, task.resolution)
    for _ in range(UNTIMED_BATCHES):
        next(epoch)
    _finish(task)
    busy, cpu, started = busy_seconds(), cpu_seconds(), time.perf_counter()
    images = sum(map(len, islice(epoch, batches)))
    _finish(task)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    other = max(0.0, (busy_seconds() - busy - cpu) / seconds)
    # Not timed: a loader ends its threads once in an epoch of a million images.
    images += sum(map(len, epoch))
    if images != batches * task.batch:
        raise RuntimeError(f"{images} images came, not {batches} batches of {task.batch}")
    _rest()
    return Round(images=images, seconds=seconds, cpu_seconds=cpu, other_cores=other)


def _rest() -> None:
    """Wait until this side has nothing left to do: work ahead must not run in the other side's turn."""
    before, until = cpu_seconds(), time.monotonic() + _LONGEST_REST
    while time.monotonic() < until:
        time.sleep(_REST_CHECK)
        now = cpu_seconds()
        if now - before < _AT_REST * _REST_CHECK:
            return
        before = now


def _first_batch(side: LoadingSide, task: Task, number: int, resolution: int) -> tuple[float, float]:
    asked = time.monotonic()
    epoch = side.epoch(number, _FIRST_OF, resolution)
    next(epoch)
    _finish(task)
    got = time.monotonic()
    # To its end: an iteration of ffcv that is left early is never freed.
    for _ in epoch:
        pass
    return asked, got


def _finish(task: Task) -> None:
    """Wait for the device."""
    if task.device == "cuda":
        import torch

        torch.cuda.synchronize()


def _centre_crops(side: LoadingSide, task: Task, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return side.centre_crops(count)


def _one_pass(side: LoadingSide, task: Task) -> NDArray[np.int64]:
    # Copies: a loader may reuse its memory for the next batch.
    return np.sort(np.concatenate([np.array(_on_host(labels), np.int64) for labels in side.one_pass()]))


def _on_host(labels: Any) -> Any:
    return labels.cpu() if hasattr(labels, "cpu") else labels


LOADER_ANSWERS: dict[str, Any] = {
    "settings": _settings,
    "round": _round,
    "first_batch": _first_batch,
    "centre_crops": _centre_crops,
    "one_pass": _one_pass,
}
