"""What the terminal says of a run."""

from typing import Any

import pytest

from engine.report.drawing.charts import clean
from tests.report.runs import (
    adapted_log,
    alarm_line,
    closing_summary,
    demo_log,
    epoch_line,
    epoch_lines,
    render,
    run_config,
    start_line,
    whole_log,
)


def test_epoch_line_is_one_line_with_every_figure() -> None:
    line = epoch_line(demo_log()[5])
    for part in (
        "epoch 5/5",
        "28 px",
        "top-1 92.31% (no TTA 92.00%)",
        "2,435 img/s",
        "waiting 2%",
        "2 min 16 s",
    ):
        assert part in line
    assert "\n" not in line


def test_epoch_line_without_validation_has_no_accuracy() -> None:
    line = epoch_line(epoch_lines(9, top1=0.5)[2] | {"top1": None, "val_loss": None})
    assert "top-1" not in line
    assert "val" not in line
    assert "epoch 3/9" in line


def test_epoch_line_without_tta_gives_one_accuracy() -> None:
    assert "no TTA" not in epoch_line({"epoch": 1, "epochs": 1, "top1": 0.5, "top1_no_tta": 0.5})


def test_epoch_line_shows_ema_accuracy_beside_the_raw_one() -> None:
    line = epoch_line({"epoch": 1, "epochs": 1, "top1": 0.5, "ema_top1": 0.625})
    assert "top-1 50.00%  EMA 62.50%" in line
    assert "EMA" not in epoch_line({"epoch": 1, "epochs": 1, "top1": 0.5, "ema_top1": None})


def test_closing_summary_has_verdict_accuracies_time_and_speed() -> None:
    summary = closing_summary(run_config(), demo_log())
    assert summary.splitlines()[0].startswith("verdict    target met: 92.31%")
    for part in (
        "top-1 92.31%, top-5 99.24% (28 px, crop ratio 1, with flip TTA)",
        "no TTA     top-1 92.00%",
        "plain      top-1 92.00%",
        "2 min 16 s of training and validation",
        "2,371 img/s, 5.1% of the training time spent waiting for data",
        "weights    load with strict=True",
    ):
        assert part in summary


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"arch": "resnet18"}, "they are of resnet18, this run's of resnet50"),
        ({"classes": 20}, "they are of 20 classes, this run's of 1,000"),
    ],
)
def test_reference_of_another_network_or_data_is_not_shown(stated: dict[str, Any], why: str) -> None:
    reference = {"source": "someone", "top1": 0.738, **stated}
    summary = closing_summary(run_config(reference=reference), whole_log(2))
    assert f"reference  none to compare with; someone's figures: {why}" in summary
    page = render(run_config(reference=reference), whole_log(2))
    assert f"that someone published are none to compare with: {clean(why)}." in page
    assert "73.80%" not in summary and "<b>73.80%" not in page
    same = {**reference, "arch": "resnet50", "classes": 1000}
    assert "73.80%, published by someone" in closing_summary(run_config(reference=same), whole_log(2))


def test_closing_summary_names_the_publisher_of_a_reference() -> None:
    config = run_config(reference={"source": "someone", "top1": 0.738, "resolution": 256, "tta": True})
    said = "reference  73.80%, published by someone, not ours (at 256 px, with TTA)"
    assert said in closing_summary(config, whole_log(2))
    assert "published" not in closing_summary(run_config(), whole_log(2))


def test_closing_summary_of_validated_only_run_has_no_speed() -> None:
    start, *_, result = whole_log(1)
    summary = closing_summary(run_config(), [start, result])
    assert "top-1 74.00%" in summary
    assert "img/s" not in summary


def test_closing_summary_without_result_has_no_verdict() -> None:
    assert closing_summary(run_config(), [start_line()]) == "verdict    no result yet"


def test_closing_summary_compares_predictions_with_the_outcome() -> None:
    config = run_config(budget={"minutes": 20.0, "adapt": True, "price": 32.77})
    rows = closing_summary(config, [*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]]).splitlines()
    for row in (
        "predicted  top-1 73.80% [73.40% to 74.20%]: reached 74.00%, inside",
        "predicted  time 19 min 20 s [18 min 20 s to 20 min 10 s]: took 18 min 29 s",
        "re-planned 2 times: 16 to 15 epochs",
        "to target  18 min 17 s from the first training image, as MLPerf counts",
        "cost       9.70 at 32.77 per hour",
        "time       18 min 29 s of set-up (12.5 s), training, validation and saving",
    ):
        assert row in rows
    assert any(row.startswith("warning    epoch 2: top-1 42.13%, where") for row in rows)


def test_closing_summary_says_what_lies_outside_its_interval() -> None:
    summary = closing_summary(run_config(), adapted_log(ema_top1=0.76))
    assert "[73.40% to 74.20%]: reached 76.00%, outside" in summary


def test_epoch_line_counts_to_the_planned_length() -> None:
    assert "epoch  5/14.25" in epoch_line(adapted_log()[6])
