"""record.json: what it takes from a run's settings and log, and what is not read as one."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.runs.record.record_schema import RunRecord
from engine.runs.record.run_record import data_set_name, read_record, record_of, write_record
from tests.report.runs import (
    adapted_log,
    alarm_line,
    demo_log,
    parsed,
    result_line,
    run_config,
    start_line,
    whole_log,
)

ADAPTED = run_config(budget={"minutes": 20.0, "adapt": True, "price": 32.77}, training={"epochs": 16})


def _record(lines: list[dict[str, Any]], **sections: dict[str, Any]) -> RunRecord:
    found = record_of(run_config(**sections), parsed(lines))
    assert found is not None
    return found


def test_record_has_accuracy_conditions_time_and_machine() -> None:
    record = _record(whole_log(16), training={"seed": 3})
    assert record.data is not None and record.data.name == "ImageNet-1k"
    assert (record.top1, record.averaged, record.tta, record.val_resolution) == (0.74, False, True, 256)
    assert record.plain_top1 == pytest.approx(0.7257)
    assert (record.num_val, record.target_top1, record.budget_seconds, record.met) == (
        50000,
        0.735,
        1200,
        True,
    )
    assert record.elapsed_seconds == whole_log(16)[-1]["elapsed_seconds"]
    assert (record.epochs, record.seed, record.world_size) == (16, 3, 8)
    assert record.machine is not None and record.machine.gpus == ["NVIDIA H200"] * 8
    assert record.date == "2026-11-21T13:00:00+00:00"


def test_old_log_gives_a_record_with_nulls() -> None:
    record = _record(demo_log())
    for name in ("setup_seconds", "time_to_target_seconds", "predicted", "cost", "family", "price"):
        assert getattr(record, name) is None, name
    assert (record.replans, record.alarms, record.resumed) == ([], [], 0)


def test_adapted_run_has_predictions_replans_alarms_and_cost() -> None:
    lines = adapted_log()
    lines.insert(3, alarm_line(2))
    record = record_of(ADAPTED, parsed(lines))
    assert record is not None
    assert record.predicted is not None and record.predicted.top1_low == 0.734
    assert [replan.length for replan in record.replans or []] == [14.25, 15.0]
    assert [alarm.epoch for alarm in record.alarms or []] == [2]
    assert (record.cost, record.price, record.epochs) == (9.7, 32.77, 15.0)
    assert record.last_prediction is not None and record.last_prediction.top1 == pytest.approx(0.7365)
    assert record.last_prediction.seconds == record.predicted.seconds


def test_averaged_weights_are_recorded_where_kept() -> None:
    record = _record(whole_log(4, ema_top1=0.75, ema_plain_top1=0.745, ema_top5=0.92))
    assert (record.averaged, record.top1, record.plain_top1, record.top5) == (True, 0.75, 0.745, 0.92)


@pytest.mark.parametrize(
    ("lines", "sections"),
    [
        (whole_log(2)[:-1], {}),
        (whole_log(2, replay=8, top1=None), {}),
        (whole_log(2), {"training": {"eval_only": True}}),
        (whole_log(2, stage=1, stages=2), {}),
        ([start_line(), result_line(whole_log(1)[1])], {}),
    ],
    ids=["unfinished", "replay", "eval_only", "first stage", "no epoch"],
)
def test_nothing_is_recorded_of(lines: list[dict[str, Any]], sections: dict[str, Any]) -> None:
    assert record_of(run_config(**sections), parsed(lines)) is None


def test_last_stage_counts_the_earlier_time_and_repeats_all() -> None:
    lines = whole_log(2, stage=2, stages=2, earlier_seconds=100.0)
    lines[0] |= {"stage": 2, "stages": 2, "folder": "runs/two/stage2", "world_size": 1}
    record = _record(lines)
    assert record.elapsed_seconds == lines[-1]["elapsed_seconds"]
    assert record.command == "python train_imagenet.py -C runs/two/stages.yaml"


@pytest.mark.parametrize(
    ("start", "command"),
    [
        (
            {},
            "torchrun --nproc-per-node=8 train_imagenet.py -C runs/rn50_16_epochs-20261121-120000/config.yaml",
        ),
        ({"world_size": 1}, "python train_imagenet.py -C runs/rn50_16_epochs-20261121-120000/config.yaml"),
        (
            {"world_size": 16, "folder": "/data/jobs/runs/a"},
            "torchrun --nnodes=2 --nproc-per-node=8 train_imagenet.py -C a/config.yaml",
        ),
        (
            {"world_size": 2, "device": "cpu", "folder": "runs/a b"},
            "torchrun --nproc-per-node=2 train_imagenet.py -C 'runs/a b/config.yaml'",
        ),
    ],
)
def test_command_starts_as_many_processes(start: dict[str, Any], command: str) -> None:
    lines = whole_log(1)
    lines[0] |= start
    assert _record(lines).command == command


def test_digest_is_equal_for_repeats_only() -> None:
    first = _record(whole_log(2)).settings
    repeats: dict[str, dict[str, Any]] = {
        "training": {"seed": 9},
        "logging": {"name": "b"},
        "data": {"num_workers": 3},
    }
    assert _record(whole_log(2), **repeats).settings == first
    assert _record(whole_log(2), training={"epochs": 17}).settings != first
    # config.yaml of adapted runs has the lengths of each.
    lengths: list[dict[str, dict[str, Any]]] = [
        {"training": {"timeline": timeline}, "budget": {"adapt": False, "minutes": 20.0}}
        for timeline in ("0:16, 4:14.25", "0:16, 3:15")
    ]
    adapted = [_record(adapted_log(), **sections).settings for sections in lengths]
    assert adapted[0] == adapted[1] != _record(whole_log(16), **lengths[0]).settings
    # Settings from before an option existed.
    older = run_config()
    del older["budget"]["adapt"]
    found = record_of(older, parsed(whole_log(2)))
    assert found is not None and found.settings == first


@pytest.mark.parametrize(
    ("counts", "files", "name"),
    [
        ((10, 50000, 10000), ("a.beton", "b.beton"), "CIFAR-10"),
        ((10, 60000, 10000), ("fashion_train.beton", "val.beton"), "Fashion-MNIST"),
        ((10, 60000, 10000), ("/data/fashion-mnist/train.beton", "val.beton"), "Fashion-MNIST"),
        ((10, 60000, 10000), ("/data/train.beton", "val.beton"), "train + val"),
        ((100, 50000, 10000), ("c100.beton", "c100.beton"), "c100"),
        ((None, None, None), ("", ""), "unknown data"),
    ],
)
def test_data_set_is_named_by_its_numbers_or_files(
    counts: tuple[int | None, int | None, int | None], files: tuple[str, str], name: str
) -> None:
    assert data_set_name(*counts, *files) == name


def test_record_reads_back_equal(tmp_path: Path) -> None:
    record = record_of(ADAPTED, parsed([*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]]))
    assert record is not None
    write_record(tmp_path, record)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert read_record(tmp_path / "record.json") == record


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged: it is no JSON"),
        ('{"kind": "run_record", "schema": 1, "top1": NaN}', "is damaged: it is no JSON"),
        ("[" * 100_000, "is damaged: it is no JSON"),
        ("[1]", "is not the record of a run"),
        ('{"kind": "benchmark"}', "is not the record of a run"),
        ('{"kind": "run_record", "schema": 2}', "was written by a newer version"),
        ('{"kind": "run_record"}', "is damaged: schema is missing"),
        ('{"kind": "run_record", "schema": 1, "top1": "high"}', "is damaged: top1 is 'high'"),
        ('{"kind": "run_record", "schema": 1, "top1": 76.1}', "top1 is 76.1, not a share"),
        ('{"kind": "run_record", "schema": 1, "elapsed_seconds": -1}', "elapsed_seconds is -1"),
    ],
)
def test_damaged_or_foreign_file_is_refused_by_name(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_record(path)
    assert str(path) in str(error.value) and words in str(error.value) and "\n" not in str(error.value)


def test_unknown_keys_of_a_record_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"kind": "run_record", "schema": 1, "power": 3}))
    assert read_record(path).extra == {"power": 3}


@pytest.mark.parametrize(
    ("stages", "sections", "started_from"),
    [
        ({}, {}, None),
        ({}, {"model": {"weights": "/data/old/weights.pt"}}, "weights.pt"),
        ({"stage": 2, "stages": 2}, {"model": {"weights": "stage1/weights.pt"}}, None),
        ({"stage": 2, "stages": 2}, {"training": {"first_stage": 2}}, "stage 2"),
    ],
)
def test_record_says_what_training_started_from(
    stages: dict[str, Any], sections: dict[str, Any], started_from: str | None
) -> None:
    lines = whole_log(2, **stages)
    lines[0] |= stages
    assert _record(lines, **sections).started_from == started_from
