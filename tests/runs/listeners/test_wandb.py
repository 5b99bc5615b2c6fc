"""A real offline run of Weights & Biases, its file read back."""

import json
from pathlib import Path

import pytest

from tests.report.runs import epoch_lines, epoch_of, result_line, result_of, start_of, steps_lines, steps_of
from tests.runs.listeners.listened import FACTS, history_of, open_record, wandb_records

pytest.importorskip("wandb")


def test_offline_run_holds_epochs_result_and_settings(tmp_path: Path) -> None:
    lines = epoch_lines(2, limited_by="decode")
    with open_record(tmp_path, "wandb") as record:
        record.start(start_of(FACTS))
        for line in lines:
            record.epoch(epoch_of(line))
        record.finish(result_of(result_line(lines[-1])))
    records = wandb_records(record.folder)
    rows = history_of(records)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["top1"] for row in rows] == [line["top1"] for line in lines]
    assert rows[0]["limited_by"] == "decode"
    run = next(entry.run for entry in records if entry.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("imagenet", "one")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["training"]["weight_decay"] == 5e-5
    assert config["start"]["precision"] == "fp32"
    summary = {
        item.key: json.loads(item.value_json)
        for entry in records
        if entry.WhichOneof("record_type") == "summary"
        for item in entry.summary.update
    }
    assert summary["plain_top1"] == lines[-1]["top1"] - 0.0143
    assert "target met" in summary["verdict"]


def test_step_losses_have_fractional_epochs(tmp_path: Path) -> None:
    with open_record(tmp_path, "wandb") as record:
        record.start(start_of(FACTS))
        for line in [*steps_lines(1, [3.0, 2.5])]:
            record.steps(steps_of(line))
        record.epoch(epoch_of(epoch_lines(1)[0]))
        record.steps(steps_of(steps_lines(2, [2.0, 1.5])[0]))
    rows = history_of(wandb_records(record.folder))
    assert [row["epoch"] for row in rows] == [0.5, 1.0, 1, 1.5]
    within = [(row.get("steps/train_loss"), row.get("steps/lr"), row.get("train_loss")) for row in rows]
    assert within == [
        (3.0, 0.5, None),
        (2.5, 0.5, None),
        (None, None, rows[2]["train_loss"]),
        (2.0, 0.5, None),
    ]


def test_resumed_run_is_the_same_run_at_wandb(tmp_path: Path) -> None:
    first, second = epoch_lines(2)
    with open_record(tmp_path, "wandb") as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(first))
    with open_record(tmp_path, "wandb", resume=str(record.folder)) as record:
        record.start(start_of({**FACTS, "resumed_at_epoch": 1}))
        record.epoch(epoch_of(second))
    records = wandb_records(record.folder)
    assert len({entry.run.run_id for entry in records if entry.WhichOneof("record_type") == "run"}) == 1
    assert sorted(row["epoch"] for row in history_of(records)) == [1, 2]
