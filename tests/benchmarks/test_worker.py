"""A contender's process: what can't be imported is told each time that it is asked for, and nobody waits for ever."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.peers.base import Task
from benchmarks.worker import ContenderError, Job, Worker


class Broken:
    """Can't be imported."""

    def load(self) -> object:
        raise RuntimeError("no luck")

    def open_side(self, task: Any) -> Any:
        raise AssertionError("it was not imported")


class Slow:
    """Gives batches at once, one more than it is asked for where it is `generous`, and is slow to end."""

    settings = ""

    def __init__(self, ending: float, generous: int = 0) -> None:
        self.ending, self.generous = ending, generous

    def load(self) -> object:
        return None

    def open_side(self, task: Any) -> Any:
        return self

    def epoch(self, number: int, batches: int, resolution: int) -> Iterator[Any]:
        try:
            yield from [range(4)] * (batches + self.generous)
        finally:
            time.sleep(self.ending)


TASK = cast(Task, SimpleNamespace(cores=1, device="cpu", batch=4, resolution=8))


def test_how_long_a_side_takes_to_end_is_no_part_of_a_round() -> None:
    with Worker("slow", Slow(ending=2.0), TASK) as worker:
        timed = worker.round(1, 5)
    assert timed.images == 20
    assert timed.seconds < 2.0


def test_a_side_that_gives_too_much_is_told() -> None:
    told = pytest.raises(ContenderError, match="24 images came, not 5 batches of 4")
    with Worker("generous", Slow(ending=0, generous=1), TASK) as worker, told:
        worker.round(1, 5)


def test_a_failed_import_is_told_each_time() -> None:
    job = cast(Job, SimpleNamespace(cores=1, device="cpu"))
    with Worker("broken", Broken(), job) as worker:
        for _ in range(2):
            with pytest.raises(ContenderError, match="broken: RuntimeError: no luck"):
                worker.load()
            with pytest.raises(ContenderError, match="broken: RuntimeError: no luck"):
                worker.ask("settings")
