"""What limited a run, as its report and its closing summary say it."""

from engine.report import bottleneck_summary
from tests.report.runs import (
    closing_summary,
    demo_log,
    epoch_line,
    epoch_lines,
    epoch_of,
    epochs_of,
    limits_entry,
    render,
    run_config,
    start_line,
)


def test_limit_of_the_run_is_the_stage_limiting_longest() -> None:
    epochs = epoch_lines(4)
    for epoch in epochs[1:3]:
        epoch |= limits_entry(60, 30, "decode") | {"train_seconds": 60}
    epochs[0]["train_seconds"] = epochs[3]["train_seconds"] = 50
    found = bottleneck_summary.limiting(epochs_of(epochs))
    assert found is not None and found[0].epoch == 3
    said = bottleneck_summary.sentence(epochs_of(epochs))
    assert said.startswith("decode: it waited for data 50% of the time")
    assert "(in 2 of 4 epochs); to speed it up: training.compile" in said
    epochs[3]["train_seconds"] = 100
    assert bottleneck_summary.sentence(epochs_of(epochs)).startswith("step: ")


def test_zero_figures_are_left_out() -> None:
    (epoch,) = epoch_lines(1)
    epoch |= limits_entry(60, 30) | {"train_seconds": 60}
    line = epoch_of(epoch)
    assert line.limits is not None
    rows = dict(bottleneck_summary.rows(line, line.limits))
    assert rows["waiting for data"] == "30.0 s (50%)"
    assert rows["decoding an image, CPU time"] == "1.53 ms"
    assert rows["records used"] == "21,000.0 MB"
    assert rows["slots ready when a batch was asked for"] == "93%"
    assert "read from disks" not in rows and "waiting for a window of the file" not in rows


def test_limits_are_in_report_terminal_and_summary() -> None:
    log = demo_log()
    page = render(run_config(), log)
    assert "What limited this run" in page
    assert "Step: it waited for data" in page and "Figures of epoch 5" in page
    assert "limited by step" in epoch_line(log[1])
    assert "\nlimited by step: it waited for data" in closing_summary(run_config(), log)


def test_log_without_limits_shows_none() -> None:
    log = [start_line(), *epoch_lines(3, limited_by=None, limits=None)]
    assert "What limited" not in render(run_config(), log)
    assert "limited by" not in closing_summary(run_config(), log) + epoch_line(log[1])
    assert "limited<br>" not in render(run_config(), log)


def test_limits_without_figures_are_drawn() -> None:
    log = [
        start_line(),
        *epoch_lines(1, limited_by="disk", limits={"words": "disk: slow", "advice": None}),
    ]
    assert "Disk: slow" in render(run_config(), log)
