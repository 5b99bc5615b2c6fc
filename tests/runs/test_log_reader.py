"""What a log tells: resumed epochs, half lines, sums."""

import json
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.report.run import run_page
from engine.report.terminal import summary
from engine.runs.log_reader import build_history, goal, mean_throughput, parse_log, read_log, waiting_share
from engine.runs.log_schema import EpochLine, ResultLine
from tests.report.runs import (
    adapted_log,
    alarm_line,
    epoch_lines,
    parsed,
    replan_line,
    result_line,
    run_config,
    start_line,
    steps_lines,
    whole_log,
)


def test_epochs_come_in_order_with_start_and_result() -> None:
    history = build_history(parsed(whole_log(4)))
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3, 4]
    assert history.start.arch == "resnet50"
    assert history.result is not None


def test_resumed_run_has_each_epoch_once_the_later_one() -> None:
    first, again = epoch_lines(4)[:3], epoch_lines(4, train_loss=1.25)[2:]
    history = build_history(parsed([start_line(), *first, start_line(resumed_at_epoch=2), *again]))
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3, 4]
    assert [epoch.train_loss == 1.25 for epoch in history.epochs] == [False, False, True, True]
    assert history.resumed_at == [2]


def test_epochs_after_the_checkpoint_are_dropped_on_resume() -> None:
    history = build_history(parsed([start_line(), *epoch_lines(4)[:3], start_line(resumed_at_epoch=1)]))
    assert [epoch.epoch for epoch in history.epochs] == [1]


def test_steps_come_in_order_once_the_later_one() -> None:
    first, second = steps_lines(1, [3.0, 2.5]), steps_lines(2, [2.0, 1.8, 1.6])
    lines = [start_line(), *first, epoch_lines(2)[0], *second]
    assert [step.train_loss for step in build_history(parsed(lines)).steps] == [3.0, 2.5, 2.0, 1.8, 1.6]
    at_the_look = [*lines, start_line(resumed_at_epoch=1, resumed_at_step=100)]
    assert [step.train_loss for step in build_history(parsed(at_the_look)).steps] == [3.0, 2.5, 2.0, 1.8]
    lines += [start_line(resumed_at_epoch=1, resumed_at_step=70)]
    assert [step.train_loss for step in build_history(parsed(lines)).steps] == [3.0, 2.5, 2.0]
    lines += steps_lines(2, [0.0, 1.7, 1.5])[1:]
    assert [step.train_loss for step in build_history(parsed(lines)).steps] == [3.0, 2.5, 2.0, 1.7, 1.5]
    assert build_history(parsed([*lines, start_line()])).steps == []


def test_result_before_last_start_does_not_count() -> None:
    lines = epoch_lines(2)
    history = build_history(
        parsed([start_line(), *lines, result_line(lines[-1]), start_line(resumed_at_epoch=2)])
    )
    assert history.result is None


def test_epoch_without_validation_is_not_validated() -> None:
    lines = epoch_lines(3)
    lines[1]["top1"] = None
    assert [epoch.epoch for epoch in build_history(parsed(lines)).validated] == [1, 3]


@pytest.mark.parametrize("tail", [b'{"kind": "epo', b"\0\0\0\0", b"[1, 2]", b"\xff\xfe", b"3"])
def test_half_line_is_counted_and_dropped(tail: bytes) -> None:
    whole = json.dumps(start_line()).encode() + b"\n"
    lines, unreadable = parse_log(whole + tail)
    assert [line.kind for line in lines] == ["start"]
    assert unreadable == 1


@pytest.mark.parametrize("other", ["abc", [1], {"a": 1}])
def test_line_with_wrong_type_is_counted_and_dropped(other: object) -> None:
    """Whatever is left can be drawn: no figure, table or list of a line may end a report with a traceback."""
    config, lines = run_config(), whole_log(2)
    lines[1:1] = steps_lines(1, [3.0, 2.5])
    seen = set()
    for number, line in enumerate(lines):
        for key in line.keys() - {"kind"}:
            changed = [*lines]
            changed[number] = {**line, key: other}
            kept, unreadable = parse_log(b"".join(json.dumps(one).encode() + b"\n" for one in changed))
            assert len(kept) + unreadable == len(lines)
            run_page.render(config, kept)
            summary.closing_summary(config, kept)
            seen |= {key} if unreadable else set()
    assert {"top1", "train_loss", "elapsed_seconds", "resumed_at_epoch"} <= seen


def test_missing_log_is_one_line_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the log .*log\.jsonl: it does not exist"):
        read_log(tmp_path / "log.jsonl")


def test_mean_throughput_weighs_by_time_not_by_epoch() -> None:
    epochs = [EpochLine(epoch=1, images=100, train_seconds=seconds) for seconds in (1.0, 3.0)]
    assert mean_throughput(epochs) == 50
    assert mean_throughput([EpochLine(epoch=1, images=100)]) is None


def test_unmeasured_waiting_share_is_unknown() -> None:
    assert waiting_share([EpochLine(epoch=1, train_seconds=4.0, data_wait_seconds=1.0)]) == 0.25
    assert waiting_share([EpochLine(epoch=1, train_seconds=4.0)]) is None


def test_goal_is_the_recipes_until_a_result_exists() -> None:
    config = run_config(budget={"target_top1": 0.92, "minutes": 3.0})
    assert goal(config, None) == (0.92, 180)
    assert goal(config, ResultLine(target_top1=0.5)) == (0.5, None)
    assert goal(run_config(), None) == (None, None)


def test_replans_and_alarms_are_kept_in_order() -> None:
    history = build_history(parsed([*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]]))
    assert [(replan.at, replan.length) for replan in history.replans] == [(4.0, 14.25), (8.0, 15.0)]
    assert [alarm.epoch for alarm in history.alarms] == [2]


@pytest.mark.parametrize(
    ("resumed", "kept"),
    [
        # At the place of a re-plan it is decided again; within the epoch after it, the checkpoint holds it.
        ({"resumed_at_epoch": 2, "resumed_at_step": 0}, []),
        ({"resumed_at_epoch": 1, "resumed_at_step": 100}, []),
        ({"resumed_at_epoch": 2, "resumed_at_step": 50}, [2.0]),
        ({"resumed_at_epoch": 4, "resumed_at_step": 3}, [2.0, 4.0]),
        ({}, []),
    ],
)
def test_replans_after_the_checkpoint_are_dropped_on_resume(
    resumed: dict[str, int], kept: list[float]
) -> None:
    lines = [start_line()]
    for number, epoch in enumerate(epoch_lines(5), start=1):
        lines += [*steps_lines(number, [3.0, 2.0]), epoch]
        if number in (2, 4):
            lines += [replan_line(float(number), 5.0, 4.5, 100.0), alarm_line(number)]
    history = build_history(parsed([*lines, start_line(**resumed)]))
    assert [replan.at for replan in history.replans] == kept
    whole = resumed.get("resumed_at_epoch", 0)
    assert [alarm.epoch for alarm in history.alarms] == [number for number in (2, 4) if number <= whole]


def test_replan_made_again_after_a_resume_counts_once() -> None:
    lines = [start_line(), *epoch_lines(3)[:2], replan_line(2.0, 5.0, 4.5, 100.0)]
    lines += [start_line(resumed_at_epoch=2), replan_line(2.0, 5.0, 4.0, 130.0)]
    assert [replan.length for replan in build_history(parsed(lines)).replans] == [4.0]
