"""A side's process: rounds, and errors that are reported."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.harness.processes.serving import UNTIMED_BATCHES, Job, _round
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.sides.task import LoadingSide, Task


class Plain:
    """Gives batches of four, `generous` more than it is asked for; by `clock` each takes a second, to end a hundred."""

    settings = ""

    def __init__(self, generous: int = 0) -> None:
        self.clock, self.generous = 0.0, generous

    def load(self) -> object:
        return None

    def open_side(self, task: Any) -> Any:
        return self

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[Any]:
        for _ in range(batches + self.generous):
            self.clock += 1
            yield range(4)
        self.clock += 100


TASK = cast(Task, SimpleNamespace(cores=1, device="cpu", batch=4, resolution=8))


def test_ending_an_epoch_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Plain()
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: side.clock)
        timed = _round(cast(LoadingSide, side), TASK, 1, 5)
    assert (timed.images, timed.seconds, side.clock) == (20, 5.0, UNTIMED_BATCHES + 5 + 100)


def test_side_with_too_many_images_fails() -> None:
    told = pytest.raises(SideError, match="24 images came, not 5 batches of 4")
    with Worker("generous", Plain(generous=1), TASK) as worker, told:
        worker.round(1, 5)


class Broken:
    """Can't be imported."""

    def load(self) -> object:
        raise RuntimeError("no luck")

    def open_side(self, task: Any) -> Any:
        raise AssertionError("it was not imported")


def test_failed_import_is_reported_each_time() -> None:
    job = cast(Job, SimpleNamespace(cores=1, device="cpu"))
    with Worker("broken", Broken(), job) as worker:
        for _ in range(2):
            with pytest.raises(SideError, match="broken: RuntimeError: no luck"):
                worker.load()
            with pytest.raises(SideError, match="broken: RuntimeError: no luck"):
                worker.ask("settings")
