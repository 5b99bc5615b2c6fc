"""One contender in a fresh process: pinned to its cores, told what to do through a pipe, timed inside.

Two contenders can't share a process: ffcv sets torch's and numba's thread counts for all of it and leaves
threads behind. Between its turns a process sleeps on the pipe. Times that leave the process are those of
`time.monotonic`, which is the same clock for all processes of the machine.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.peers.base import Side, Task
from engine.errors import UserError

# Batches before the clock starts: more than either loader keeps in flight, whose memory is new to each epoch
# of ffcv and would be paid for once in an epoch of a million images.
UNTIMED_BATCHES = 6

# A side is at rest that has kept less than this share of a core busy for so many seconds. One that never is, because
# its threads poll, is not waited for any longer than that.
_AT_REST, _REST_CHECK, _LONGEST_REST = 0.2, 0.1, 1.0

# Enough for either loader to be under way with the next batches when the first one is taken.
_FIRST_OF = 4


class Opener(Protocol):
    """Whom a process is for: benchmarks.peers.Contender, or another stage's."""

    def load(self) -> object:
        """Import it, which may take seconds."""
        ...

    def open_side(self, task: Any) -> Any:
        """Make it ready for `task`; what the answers take as their first argument."""
        ...


class Job(Protocol):
    """What of a task the process itself has to know."""

    @property
    def cores(self) -> int:
        """Cores that it is pinned to."""
        ...

    @property
    def device(self) -> str:
        """cpu or cuda; on cpu it sees no GPU."""
        ...


class ContenderError(Exception):
    """A contender failed or its process died. The message is one line."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One timed stretch of steady work."""

    images: int
    seconds: float
    cpu_seconds: float
    """Of all threads of the side's process, and of the processes that it started."""
    other_cores: float
    """Cores that the machine kept busy with something else meanwhile, on average."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


class Worker:
    """A contender's process, as the measuring process sees it. Use as a context manager."""

    def __init__(
        self,
        name: str,
        contender: Opener,
        task: Job,
        environment: Mapping[str, str] | None = None,
        answers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """`environment`: variables that the process has before the contender is imported.

        `answers`: functions of modules, by what `ask` asks for, called with the side, the task and ask's arguments;
        without them a loader's.
        """
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(theirs, contender, task, dict(environment or {}), dict(answers or _ANSWERS)),
            # A daemon may have no processes of its own, which some loaders work in. It ends with the pipe anyway.
            daemon=False,
        )
        self.started = time.monotonic()
        self._process.start()
        # Only the child may hold its end, or its death would go unnoticed here.
        theirs.close()
        # At once, so that processes that are opened together import together.
        self._pipe.send(("load",))
        self._is_loading = True
        self._loaded: float | None = None

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    def load(self) -> float:
        """Wait until the contender is imported, without opening a file; returns when that was done."""
        if self._loaded is None:
            # One that failed is asked again, and says so again.
            asked, self._is_loading = () if self._is_loading else ("load",), False
            self._loaded = float(self._answer(*asked))
        return self._loaded

    def settings(self) -> str:
        """How the contender is set up; waits until it is ready."""
        return str(self.ask("settings"))

    def round(self, number: int, batches: int) -> Round:
        """Time that many batches of one epoch."""
        result: Round = self.ask("round", number, batches)
        return result

    def first_batch(self, number: int, resolution: int) -> tuple[float, float]:
        """Start an epoch at that resolution; returns when it was asked for and when its first batch was there."""
        asked, got = self.ask("first_batch", number, resolution)
        return asked, got

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images in levels of 0..255, shape (count, 3, resolution, resolution), and labels."""
        images, labels = self.ask("centre_crops", count)
        return images, labels

    def one_pass(self) -> NDArray[np.int64]:
        """The labels of all images as they came in one pass, sorted."""
        labels: NDArray[np.int64] = self.ask("one_pass")
        return labels

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer to `what`. Raises ContenderError, or the UserError that the contender raised."""
        self.load()
        return self._answer(what, *arguments)

    def _answer(self, *asked: Any) -> Any:
        """The next answer, after asking where there is anything to ask."""
        try:
            if asked:
                self._pipe.send(asked)
            kind, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            raise ContenderError(f"{self._name}'s process ended with code {self._process.exitcode}") from None
        if kind == "user error":
            raise UserError(answer)
        if kind == "error":
            raise ContenderError(f"{self._name}: {answer}")
        return answer

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and those that it started."""
        self._pipe.close()
        helpers = descendants(self.pid)
        # ffcv's threads may keep a process from ending by itself, and some libraries answer a request to end at length.
        self._process.kill()
        self._process.join()
        for helper in helpers:
            # It may have ended with its parent.
            with suppress(psutil.NoSuchProcess):
                helper.kill()


def _serve(
    pipe: Connection,
    contender: Opener,
    task: Job,
    environment: Mapping[str, str],
    answers: Mapping[str, Callable[..., Any]],
) -> None:
    """The child's main function: answer questions until the pipe closes."""
    # Ctrl-C reaches the whole group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a loader starts begins as it would in a process from a shell; this one would pass on how it began itself.
    multiprocessing.set_start_method("fork", force=True)
    # Before torch and numba are imported, which count the cores then.
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
                contender.load()
                pipe.send(("answer", time.monotonic()))
                continue
            side = side or contender.open_side(task)
            pipe.send(("answer", answers[what](side, task, *arguments)))
        except UserError as error:
            pipe.send(("user error", str(error)))
        except Exception as error:  # noqa: BLE001 - told to the parent, which says whose it is
            traceback.print_exc()
            pipe.send(("error", f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _settings(side: Side, task: Task) -> str:
    return side.settings


def _round(side: Side, task: Task, number: int, batches: int) -> Round:
    epoch = side.epoch(number, UNTIMED_BATCHES + batches, task.resolution)
    for _ in range(UNTIMED_BATCHES):
        next(epoch)
    _finish(task)
    busy, cpu, started = busy_seconds(), cpu_seconds(), time.perf_counter()
    images = sum(map(len, islice(epoch, batches)))
    _finish(task)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    other = max(0.0, (busy_seconds() - busy - cpu) / seconds)
    # Not timed: how a loader ends its threads is paid for once in an epoch of a million images.
    images += sum(map(len, epoch))
    if images != batches * task.batch:
        raise RuntimeError(f"{images} images came, not {batches} batches of {task.batch}")
    _rest()
    return Round(images=images, seconds=seconds, cpu_seconds=cpu, other_cores=other)


def _rest() -> None:
    """Until this side has nothing left to do: what a loader prepares ahead must not run in the other's turn."""
    before, until = cpu_seconds(), time.monotonic() + _LONGEST_REST
    while time.monotonic() < until:
        time.sleep(_REST_CHECK)
        now = cpu_seconds()
        if now - before < _AT_REST * _REST_CHECK:
            return
        before = now


def _first_batch(side: Side, task: Task, number: int, resolution: int) -> tuple[float, float]:
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
    """Until the device has done all that it was given."""
    if task.device == "cuda":
        import torch

        torch.cuda.synchronize()


def cpu_seconds() -> float:
    """CPU time of this process and, to a hundredth of a second, of those that it started."""
    # Those that have ended, then those that are still there.
    total = time.process_time() + os.times().children_user + os.times().children_system
    for helper in descendants(os.getpid()):
        with suppress(psutil.NoSuchProcess):
            times = helper.cpu_times()
            total += times.user + times.system
    return total


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that this one started, and those that they did."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def busy_seconds() -> float:
    """CPU seconds that the machine has worked, or its host has taken from it, since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.steal)


def _centre_crops(side: Side, task: Task, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return side.centre_crops(count)


def _one_pass(side: Side, task: Task) -> NDArray[np.int64]:
    # Each is a copy: a loader may fill its memory anew with the next batch.
    return np.sort(np.concatenate([np.array(_on_host(labels), np.int64) for labels in side.one_pass()]))


def _on_host(labels: Any) -> Any:
    return labels.cpu() if hasattr(labels, "cpu") else labels


_ANSWERS: dict[str, Any] = {
    "settings": _settings,
    "round": _round,
    "first_batch": _first_batch,
    "centre_crops": _centre_crops,
    "one_pass": _one_pass,
}
