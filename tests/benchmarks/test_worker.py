"""A contender's process: what can't be imported is told each time that it is asked for, and nobody waits for ever."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.worker import ContenderError, Job, Worker


class Broken:
    """Can't be imported."""

    def load(self) -> object:
        raise RuntimeError("no luck")

    def open_side(self, task: Any) -> Any:
        raise AssertionError("it was not imported")


def test_a_failed_import_is_told_each_time() -> None:
    job = cast(Job, SimpleNamespace(cores=1, device="cpu"))
    with Worker("broken", Broken(), job) as worker:
        for _ in range(2):
            with pytest.raises(ContenderError, match="broken: RuntimeError: no luck"):
                worker.load()
            with pytest.raises(ContenderError, match="broken: RuntimeError: no luck"):
                worker.ask("settings")
