"""The verdict is measured figures against promised ones, nothing else."""

import pytest

from engine.config.train.train_config import BudgetConfig
from engine.train.verdict import describe_seconds, judge

PROMISE = BudgetConfig(target_top1=0.92, minutes=3)


def test_target_reached_in_time_exits_0() -> None:
    verdict = judge(PROMISE, 0.9215, 150.0)
    assert verdict.met and verdict.exit_code == 0
    assert verdict.sentence == "target met: 92.15% top-1 in 2 min 30 s (target 92.00% within 3 min 00 s)"


@pytest.mark.parametrize(
    ("top1", "seconds", "words"),
    [
        (0.9150, 100, "0.50% short"),
        (0.93, 200, "20.0 s late"),
        (0.90, 300, "2.00% short and 2 min 00 s late"),
    ],
)
def test_missed_target_shows_the_gap_and_exits_1(top1: float, seconds: float, words: str) -> None:
    verdict = judge(PROMISE, top1, seconds)
    assert verdict.met is False and verdict.exit_code == 1
    assert words in verdict.sentence


def test_exact_target_and_time_are_met() -> None:
    assert judge(PROMISE, 0.92, 180.0).met


def test_no_target_gives_figures_without_a_verdict() -> None:
    verdict = judge(BudgetConfig(), 0.5, 10.0)
    assert verdict.met is None and verdict.exit_code == 0
    assert "50.00% top-1 in 10.0 s" in verdict.sentence


def test_durations_have_one_or_two_units() -> None:
    assert [describe_seconds(s) for s in (4.26, 59.99, 60, 125, 3600, 12000)] == [
        "4.3 s", "60.0 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "3 h 20 min",
    ]  # fmt: skip
