"""The verdict is measured figures against promised ones, nothing else."""

import pytest

from engine.config.train.train_config import BudgetConfig
from engine.train.budget.verdict import describe_seconds, judge

PROMISE = BudgetConfig(target_top1=0.92, minutes=3)
ADAPTED = BudgetConfig(minutes=10, adapt=True, margin=0.02)


def test_target_reached_in_time_exits_0() -> None:
    verdict = judge(PROMISE, 0.9215, 150.0)
    assert verdict.met and verdict.exit_code == 0
    assert verdict.sentence == (
        "target met: 92.15% top-1 in 2 min 30 s (target 92.00% reached; time limit 3 min 00 s kept)"
    )


@pytest.mark.parametrize(
    ("top1", "seconds", "reached", "in_time", "words"),
    [
        (0.9150, 100, False, True, "(target 92.00% missed by 0.50 points; time limit 3 min 00 s kept)"),
        (0.93, 200, True, False, "(target 92.00% reached; time limit 3 min 00 s missed by 20.0 s)"),
        (
            0.90,
            300,
            False,
            False,
            "(target 92.00% missed by 2.00 points; time limit 3 min 00 s missed by 2 m",
        ),
    ],
)
def test_missed_promise_says_which_and_exits_1(
    top1: float, seconds: float, reached: bool, in_time: bool, words: str
) -> None:
    verdict = judge(PROMISE, top1, seconds)
    assert verdict.met is False and verdict.exit_code == 1
    assert (verdict.reached, verdict.in_time) == (reached, in_time)
    assert verdict.sentence.startswith("target missed: ") and words in verdict.sentence


def test_exact_target_and_time_are_met() -> None:
    assert judge(PROMISE, 0.92, 180.0).met


def test_no_target_gives_figures_without_a_verdict() -> None:
    verdict = judge(BudgetConfig(), 0.5, 10.0)
    assert verdict.met is None and verdict.exit_code == 0
    assert "50.00% top-1 in 10.0 s" in verdict.sentence


@pytest.mark.parametrize(
    ("seconds", "met", "words"),
    [
        (599.0, True, "time limit kept: 50.00% top-1 in 9 min 59 s (time limit 10 min 00 s kept)"),
        (611.0, True, "(time limit 10 min 00 s kept: 11.0 s over, within budget.margin (2.0%))"),
        (
            613.0,
            False,
            "time limit missed: 50.00% top-1 in 10 min 13 s (time limit 10 min 00 s missed by 13.0 s)",
        ),
    ],
)
def test_time_limit_alone_is_judged_within_the_margin(seconds: float, met: bool, words: str) -> None:
    verdict = judge(ADAPTED, 0.5, seconds)
    assert (verdict.met, verdict.in_time, verdict.reached) == (met, met, None)
    assert words in verdict.sentence


def test_without_adapt_the_limit_has_no_margin() -> None:
    assert judge(PROMISE, 0.93, 180.1).in_time is False


def test_run_that_trained_nothing_has_no_time_to_judge() -> None:
    verdict = judge(PROMISE, 0.93, 0.0)
    assert verdict.met and verdict.in_time is None
    assert verdict.sentence == "target met: 93.00% top-1 (target 92.00% reached)"


def test_time_saved_by_ending_at_the_target_is_said() -> None:
    assert "in 1 min 40 s, ended at the target: about 50.0 s saved (" in (
        judge(PROMISE, 0.92, 100.0, saved_seconds=50.0).sentence
    )


def test_durations_have_one_or_two_units() -> None:
    assert [describe_seconds(s) for s in (4.26, 59.99, 60, 125, 3600, 12000)] == [
        "4.3 s", "60.0 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "3 h 20 min",
    ]  # fmt: skip
