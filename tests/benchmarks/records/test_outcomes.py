"""Outcomes: won, lost, level or a share, by the interval."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.method import failed
from benchmarks.records.outcomes import outcome
from benchmarks.records.record_files import read

FOLDER = Path(__file__).parents[3] / "benchmarks" / "results"


RESULTS = sorted(FOLDER.glob("loader_*-25.json"))


def record(**changes: Any) -> dict[str, Any]:
    """A committed one, with some keys replaced."""
    return {**read(RESULTS[0])[0], **changes}


def interval(low: float, median: float, high: float) -> dict[str, Any]:
    return {"ratio": {"low": low, "median": median, "high": high}}


def broken() -> dict[str, Any]:
    return record(peer="webdataset", **failed("webdataset: RuntimeError: no <luck>"))


def test_interval_decides_the_outcome_also_for_times() -> None:
    kinds = [
        outcome(record(**interval(*bounds))).kind
        for bounds in ((1.1, 2, 3), (0.2, 0.5, 0.9), (0.9, 1.1, 1.3))
    ]
    assert kinds == ["won", "lost", "level"]
    seconds = outcome(record(metric="seconds_to_first_batch", **interval(0.25, 0.5, 0.8)))
    assert (seconds.kind, seconds.low, seconds.median, seconds.high) == ("won", 1.25, 2, 4)
    assert outcome(record(peer="self", **interval(1.1, 1.2, 1.3))).kind == "share"
    assert (outcome(broken()).kind, outcome(broken()).figures) == (
        "failed",
        "failed: webdataset: RuntimeError: no <luck>",
    )


@pytest.mark.parametrize("peer", ["self", "replay", "without", "bare step"])
def test_share_of_a_limit_is_neither_won_nor_lost(peer: str) -> None:
    assert outcome(record(peer=peer, **interval(0.4, 0.5, 0.6))).kind == "share"
