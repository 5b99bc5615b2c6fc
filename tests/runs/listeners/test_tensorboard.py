"""TensorBoard's event files, read back by TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import pytest

from tests.report.runs import epoch_lines, epoch_of, result_line, result_of, start_of, steps_lines, steps_of
from tests.runs.listeners.listened import FACTS, open_record

pytest.importorskip("tensorboard")


def _read(folder: Path, within: str = "") -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard" / within))
    accumulator.Reload()
    return accumulator


def test_epochs_result_and_settings_are_read_back(tmp_path: Path) -> None:
    lines = epoch_lines(3)
    with open_record(tmp_path, "tensorboard") as record:
        record.start(start_of(FACTS))
        for line in lines:
            record.epoch(epoch_of(line))
        record.finish(result_of(result_line(lines[-1])))
    found = _read(record.folder)
    top1 = found.Scalars("epoch/top1")
    assert [event.step for event in top1] == [1, 2, 3]
    assert [event.value for event in top1] == pytest.approx([line["top1"] for line in lines])
    assert found.Scalars("result/plain_top1")[0].value == pytest.approx(lines[-1]["top1"] - 0.0143)
    assert not any("epoch/epoch" in tag or "met" in tag for tag in found.Tags()["scalars"])
    texts = {
        tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in found.Tags()["tensors"]
    }
    assert "weight_decay: 5.0e-05" in texts["config/text_summary"]
    assert "precision: fp32" in texts["start/text_summary"]
    assert "target met" in texts["verdict/text_summary"]


def test_resumed_run_shows_each_epoch_once(tmp_path: Path) -> None:
    first, second, third = epoch_lines(3)
    with open_record(tmp_path, "tensorboard") as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(first))
        record.epoch(epoch_of(second | {"top1": 0.01}))
    with open_record(tmp_path, "tensorboard", resume=str(record.folder)) as record:
        record.start(start_of({**FACTS, "resumed_at_epoch": 1}))
        record.epoch(epoch_of(second))
        record.epoch(epoch_of(third))
    events = _read(record.folder).Scalars("epoch/top1")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx(
        [line["top1"] for line in (first, second, third)]
    )


def test_steps_are_a_separate_tensorboard_run_that_resumes(tmp_path: Path) -> None:
    first, second = epoch_lines(2)
    with open_record(tmp_path, "tensorboard") as record:
        record.start(start_of(FACTS))
        for line in steps_lines(1, [3.0, 2.5]):
            record.steps(steps_of(line))
        record.epoch(epoch_of(first))
        for line in steps_lines(2, [2.0, 0.1]):
            record.steps(steps_of(line))
        assert len(_read(record.folder, "steps").Scalars("steps/train_loss")) == 4, (
            "it is on the disk at once"
        )
    with open_record(tmp_path, "tensorboard", resume=str(record.folder)) as record:
        record.start(start_of({**FACTS, "resumed_at_epoch": 1, "resumed_at_step": 70}))
        record.steps(steps_of(steps_lines(2, [0.0, 1.5])[1]))
        record.epoch(epoch_of(second))
    found = _read(record.folder, "steps")
    losses = found.Scalars("steps/train_loss")
    assert [(event.step, event.value) for event in losses] == [(50, 3.0), (100, 2.5), (150, 2.0), (200, 1.5)]
    assert [event.value for event in found.Scalars("steps/lr")] == [0.5] * 4
    assert [event.step for event in _read(record.folder).Scalars("epoch/top1")] == [1, 2]


def test_run_killed_before_saving_shows_each_step_once(tmp_path: Path) -> None:
    lines, epoch = steps_lines(1, [3.0, 2.5]), epoch_lines(1)[0]
    for begun, told in ((False, lines[:1]), (True, lines)):
        config = open_record(tmp_path, "tensorboard", begun=begun)
        with config as record:
            record.start(start_of(FACTS))
            for line in told:
                record.steps(steps_of(line))
            record.epoch(epoch_of(epoch))
    assert [event.step for event in _read(record.folder, "steps").Scalars("steps/train_loss")] == [50, 100]
    assert [event.step for event in _read(record.folder).Scalars("epoch/top1")] == [1]


def test_events_are_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    with open_record(tmp_path, "tensorboard") as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(epoch_lines(1)[0]))
        assert [event.step for event in _read(record.folder).Scalars("epoch/top1")] == [1]
