"""The run's clock: what counts against the time limit."""

import time

import pytest

from engine.train.budget import clock
from engine.train.budget.clock import Clock, process_start


def test_process_start_is_in_the_past() -> None:
    assert 0 < time.perf_counter() - process_start() < 24 * 3600


def test_time_in_which_the_run_was_dead_counts_for_wall_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Now:
        """Ten seconds after the process began, two hours after the run did."""

        @staticmethod
        def perf_counter() -> float:
            return 110.0

        @staticmethod
        def time() -> float:
            return 7200.0

    monkeypatch.setattr(clock, "time", Now)
    resumed = Clock(start=100.0, earlier=600.0, began=1e-9)
    assert resumed.elapsed() == resumed.used("run") == 610
    assert resumed.used("wall") == pytest.approx(7200)
    # A clock that was set back gives no time away.
    assert Clock(start=100.0, earlier=600.0, began=8000.0).used("wall") == 610
    assert Clock(start=100.0).began == 7190
