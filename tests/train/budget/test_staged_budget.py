"""Stages that share one time limit: a slow machine shortens all of them."""

from pathlib import Path
from typing import Any

import pytest

from tests.train.budget.simulated import SimulatedMachine
from tests.train.conftest import log_of
from tests.train.staged import recipe_of, run_here


@pytest.mark.parametrize("seconds", [0.5, 0.2])
def test_stages_share_the_time_limit(
    betons: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    SimulatedMachine(monkeypatch, lambda _: seconds)
    then: list[dict[str, Any]] = [{"training": {"epochs": 4}, "lr": {"lr": 0.01}}]
    argv = recipe_of(tmp_path, betons, then, training__epochs=4, budget__minutes=0.3, budget__adapt=True)
    assert run_here(argv) == 0
    first, second = (tmp_path / "runs" / "run" / f"stage{number}" for number in (1, 2))
    (one,), (other,) = log_of(first, "result"), log_of(second, "result")
    assert one["replans"] and log_of(first, "replan")[0]["stage"] == 1
    # 18 s in all: neither stage takes more than its half and a little.
    assert 0.9 * 18 <= other["elapsed_seconds"] <= 1.02 * 18
    assert 6 < one["elapsed_seconds"] < 12
    assert (one["length"] < 4 and other["length"] < 4) == (seconds == 0.5)
