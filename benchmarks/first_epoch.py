"""A side whose every round is a process of its own that sees the file for the first time.

So each timed image is mapped, touched and, by ours, checked against its checksum for the first time, as in a
run's first epoch. What a process has to do once (imports, compiling) is over before the clock starts.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.worker import Round, Worker


class FirstEpochs:
    """Answers as a Worker does, but with a fresh one for each round, after `prepare` has set the page cache."""

    def __init__(self, open_worker: Callable[[], Worker], prepare: Callable[[], None]) -> None:
        self._open_worker = open_worker
        self._prepare = prepare
        self._settings = ""

    def round(self, number: int, batches: int) -> Round:
        """Time that many batches, which must not repeat an image."""
        self._prepare()
        with self._open_worker() as worker:
            timed = worker.round(number, batches)
            self._settings = worker.settings()
        return timed

    def settings(self) -> str:
        """How the last round's process was set up."""
        return self._settings

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As Worker.centre_crops."""
        with self._open_worker() as worker:
            return worker.centre_crops(count)
