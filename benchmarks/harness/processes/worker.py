"""A side's process as the measuring process sees it: started, asked through a pipe, and ended with its children.

Two sides can't share a process: ffcv sets torch's and numba's thread counts for all of it and leaves threads behind.
Between its turns a process sleeps on the pipe. What runs inside it is in serving.py.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.harness.method import Round
from benchmarks.harness.processes.serving import LOADER_ANSWERS, Job, Opener, serve
from benchmarks.harness.processes.usage import descendants
from engine.errors import UserError


class SideError(Exception):
    """A side failed or its process died. The message is one line."""


class Worker:
    """A side's process. Use as a context manager."""

    def __init__(
        self,
        name: str,
        side: Opener,
        task: Job,
        environment: Mapping[str, str] | None = None,
        answers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """`environment`: variables that are set before the side is imported.

        `answers`: module-level functions by the word that `ask` takes, called with the side, the task and ask's
        arguments (default: a loader's).
        """
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve,
            args=(theirs, side, task, dict(environment or {}), dict(answers or LOADER_ANSWERS)),
            # A daemon may start no processes, and some loaders do. It ends with the pipe anyway.
            daemon=False,
        )
        self.started = time.monotonic()
        self._process.start()
        # Only the child may hold its end, or its death would not be noticed here.
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
        """Wait until the side is imported, without opening a file; returns the time of that."""
        if self._loaded is None:
            # A side that failed is asked again, and fails again.
            asked, self._is_loading = () if self._is_loading else ("load",), False
            self._loaded = float(self._answer(*asked))
        return self._loaded

    def settings(self) -> str:
        """How the side is set up; waits until it is ready."""
        return str(self.ask("settings"))

    def round(self, number: int, batches: int) -> Round:
        """Time that many batches of one epoch."""
        result: Round = self.ask("round", number, batches)
        return result

    def first_batch(self, number: int, resolution: int) -> tuple[float, float]:
        """Start an epoch at that resolution; returns the times of asking and of the first batch."""
        asked, got = self.ask("first_batch", number, resolution)
        return asked, got

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images in levels of 0..255, shape (count, 3, resolution, resolution), and labels."""
        images, labels = self.ask("centre_crops", count)
        return images, labels

    def one_pass(self) -> NDArray[np.int64]:
        """The labels of one pass over all images, sorted."""
        labels: NDArray[np.int64] = self.ask("one_pass")
        return labels

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer to `what`. Raises SideError, or the UserError that the side raised."""
        self.load()
        return self._answer(what, *arguments)

    def _answer(self, *asked: Any) -> Any:
        """The next answer; asks first where there is something to ask."""
        try:
            if asked:
                self._pipe.send(asked)
            kind, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            raise SideError(f"{self._name}'s process ended with code {self._process.exitcode}") from None
        if kind == "user error":
            raise UserError(answer)
        if kind == "error":
            raise SideError(f"{self._name}: {answer}")
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
        # ffcv's threads may keep a process alive, and some libraries take long to end.
        self._process.kill()
        self._process.join()
        for helper in helpers:
            # It may have ended with its parent.
            with suppress(psutil.NoSuchProcess):
                helper.kill()
