"""The run folder on disk: what is there after a crash, a resume, a taken name, a full disk."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.config.load import load_train_config, to_dict
from engine.errors import UserError
from engine.report.run import run_page
from engine.report.run_display import RunDisplay
from engine.runs.log_schema import AlarmLine, ReplanLine
from engine.runs.record.run_record import read_record
from engine.runs.run_writer import RunWriter
from engine.runs.time_left import Ahead, Outlook
from tests.full_disk import files_of_at_most
from tests.report.runs import (
    adapted_log,
    alarm_line,
    config_of,
    epoch_lines,
    epoch_of,
    facts,
    log_lines,
    result_line,
    result_of,
    start_of,
    steps_lines,
    steps_of,
)


def test_run_folder_has_config_log_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    epoch = epoch_lines(1)[0]
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        record.epoch(epoch_of(epoch))
        record.finish(result_of(result_line(epoch)))
    assert record.folder == tmp_path / "one"
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "config.yaml",
        "log.jsonl",
        "record.json",
        "report.html",
    ]
    start, logged, result = log_lines(record.folder)
    assert [start["kind"], logged["kind"], result["kind"]] == ["start", "epoch", "result"]
    assert start["versions"]["numpy"] == np.__version__
    assert start["machine"]["cores"] >= 1
    assert start["command"] == sys.argv
    assert (start["name"], start["recipe"], start["device"]) == ("one", "demo", "cpu")
    assert "revision" in start
    assert logged["top1"] == epoch["top1"]
    assert "T" in logged["time"]
    printed = capsys.readouterr().out
    assert "epoch 1/1" in printed
    assert result["verdict"] in printed
    assert str(record.folder / "report.html") in printed


def test_written_config_reads_back_equal(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    RunWriter.open(config, "demo", writes=True, display=RunDisplay()).close()
    path = tmp_path / "one" / "config.yaml"
    again, _ = load_train_config(["-C", str(path), "--logging.name=one"])
    assert again == config
    # Resolved: what was left at its default is in it too. The name is the run's own, who repeats it needs another.
    resolved = to_dict(config)
    resolved["logging"]["name"] = ""
    assert yaml.safe_load(path.read_text()) == resolved


def test_unnamed_runs_get_recipe_time_and_differ(tmp_path: Path) -> None:
    folders = set()
    for _ in range(3):
        with RunWriter.open(
            config_of(tmp_path, name=""), "rn50[a]", writes=True, display=RunDisplay()
        ) as record:
            record.start(start_of(facts()))
            folders.add(record.folder)
    assert len(folders) == 3
    assert all(folder.name.startswith("rn50[a]-20") and folder.parent == tmp_path for folder in folders)


def test_taken_name_is_refused_and_run_untouched(tmp_path: Path) -> None:
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
    before = (record.folder / "log.jsonl").read_bytes()
    with pytest.raises(
        UserError, match=r"holds a run already: choose another --logging.name.*--training.resume="
    ):
        RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay())
    assert (record.folder / "log.jsonl").read_bytes() == before


def test_name_of_unstarted_run_is_free(tmp_path: Path) -> None:
    RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()).close()
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
    assert len(log_lines(record.folder)) == 1


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/tmp/x"])
def test_name_with_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"logging\.name"):
        RunWriter.open(config_of(tmp_path / "runs", name=name), "demo", writes=True, display=RunDisplay())
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_touch_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunWriter.open(config_of(tmp_path / "runs"), "demo", writes=False, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        record.epoch(epoch_of(epoch_lines(1)[0]))
        record.finish(result_of(result_line(epoch_lines(1)[0])))
    assert record.folder == tmp_path / "runs" / "one"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_resumed_run_appends_to_the_same_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = epoch_lines(2)
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        record.epoch(epoch_of(lines[0]))
    again = config_of(tmp_path / "elsewhere", resume=str(record.folder))
    with RunWriter.open(again, "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts() | {"resumed_at_epoch": 1}))
        record.epoch(epoch_of(lines[1]))
    assert record.folder == tmp_path / "one"
    assert not (tmp_path / "elsewhere").exists()
    assert [line["kind"] for line in log_lines(record.folder)] == ["start", "epoch", "start", "epoch"]
    report = (record.folder / "report.html").read_text()
    assert "<td>1</td>" in report
    assert "<td>2</td>" in report
    assert "after epoch 1" in report
    assert "note:" not in capsys.readouterr().err
    # Repeating the run from its config.yaml must not mean resuming it, nor want the name that it has taken.
    told = yaml.safe_load((record.folder / "config.yaml").read_text())
    assert told["training"]["resume"] == told["logging"]["name"] == ""


def test_resuming_a_folder_without_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(UserError, match=r"is not a run folder \(it holds no log\.jsonl\)"):
            RunWriter.open(config_of(tmp_path, resume=str(folder)), "demo", writes=True, display=RunDisplay())
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_nan_and_tensors_become_json(tmp_path: Path) -> None:
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of({"device": "cpu", "seen": (1, np.float32(0.5)), "odd": Path("x\udcff")}))
        record.epoch(
            epoch_of(
                {"epoch": 1, "epochs": 1, "train_loss": math.nan, "lr": np.float64(math.inf), "top1": None}
            )
        )
    start, epoch = log_lines(record.folder)
    assert start["seen"] == [1, 0.5]
    assert start["odd"] == "x\\udcff"
    assert (epoch["train_loss"], epoch["lr"], epoch["top1"]) == (None, None, None)


def test_report_follows_the_run_unless_log_level_is_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = epoch_lines(3)
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        for done, line in enumerate(lines[:2], 1):
            record.epoch(epoch_of(line))
            assert f"Epoch {done} of 3" in (record.folder / "report.html").read_text()
    capsys.readouterr()
    with RunWriter.open(
        config_of(tmp_path, name="quiet", log_level=0), "demo", writes=True, display=RunDisplay()
    ) as record:
        record.epoch(epoch_of(lines[0]))
        assert not (record.folder / "report.html").exists()
        assert capsys.readouterr().out == ""
        record.finish(result_of(result_line(lines[0])))
    assert (record.folder / "report.html").exists()


def test_failing_report_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("a bug in a chart")

    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        monkeypatch.setattr(run_page, "render", fail)
        record.epoch(epoch_of(epoch_lines(1)[0]))
        assert "a bug in a chart" in capsys.readouterr().err
        with pytest.raises(ZeroDivisionError):
            record.finish(result_of(result_line(epoch_lines(1)[0])))
    assert [line["kind"] for line in log_lines(record.folder)] == ["epoch", "result"]


def test_file_at_the_folder_path_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"cannot make the run folder .*runs"):
        RunWriter.open(config_of(tmp_path / "runs"), "demo", writes=True, display=RunDisplay())


def test_full_disk_at_the_start_leaves_nothing(tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(UserError, match=r"cannot write .*config\.yaml"):
        RunWriter.open(config_of(tmp_path / "runs"), "demo", writes=True, display=RunDisplay())
    assert list((tmp_path / "runs").iterdir()) == []


def test_full_disk_ends_the_run_with_whole_lines(tmp_path: Path) -> None:
    with RunWriter.open(
        config_of(tmp_path, log_level=0), "demo", writes=True, display=RunDisplay()
    ) as record:
        record.start(start_of(facts()))
        size = (record.folder / "log.jsonl").stat().st_size
        with files_of_at_most(size + 100), pytest.raises(UserError, match=r"cannot write .*log\.jsonl"):
            record.epoch(epoch_of(epoch_lines(1)[0]))
    assert (record.folder / "log.jsonl").stat().st_size == size
    assert [line["kind"] for line in log_lines(record.folder)] == ["start"]


def test_losses_within_an_epoch_are_logged_and_shown(tmp_path: Path) -> None:
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        with record.live(Outlook(epochs=[Ahead(images=6400, side=128)])) as view:
            assert view.loss is None
            for line in steps_lines(1, [3.0, 2.5]):
                record.steps(
                    steps_of({key: value for key, value in line.items() if key not in ("kind", "time")})
                )
                assert view.loss == line["train_loss"]
    steps = [line for line in log_lines(record.folder) if line["kind"] == "steps"]
    assert [(line["global_step"], line["train_loss"]) for line in steps] == [(50, 3.0), (100, 2.5)]
    with RunWriter.open(
        config_of(tmp_path, name="elsewhere"), "demo", writes=False, display=RunDisplay()
    ) as other:
        other.steps(steps_of(steps[0]))
        assert not other.folder.exists()


def test_steps_on_full_disk_are_noted_once_and_run_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth = steps_lines(1, [3.0, 2.5, 2.2, 2.0])
    with RunWriter.open(
        config_of(tmp_path, log_level=0), "demo", writes=True, display=RunDisplay()
    ) as record:
        record.start(start_of(facts()))
        record.steps(steps_of(first))
        with files_of_at_most((record.folder / "log.jsonl").stat().st_size + 50):
            record.steps(steps_of(second))
            record.steps(steps_of(third))
        record.steps(steps_of(fourth))
        record.epoch(epoch_of(epoch_lines(1)[0]))
    (told,) = capsys.readouterr().err.splitlines()
    assert "log.jsonl" in told and told.endswith(
        "losses within epochs are missing from the log while this lasts"
    )
    assert [line.get("step") for line in log_lines(record.folder)] == [None, 50, 200, None]


def test_closing_twice_after_an_error_is_allowed(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record,
    ):
        raise KeyError
    record.close()
    record.close()


def test_replan_is_logged_and_shown_and_the_bar_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ReplanLine.from_json(adapted_log()[5])
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        with record.live(Outlook(epochs=[Ahead(images=6400, side=128)] * 4)) as view:
            record.replan(line, Outlook(epochs=[Ahead(images=6400, side=128)] * 3))
            assert view.total == 3 * 6400
    assert log_lines(record.folder)[-1]["length"] == 14.25
    assert "re-plan after 4 epochs: 16 to 14.25 epochs; training is slower" in capsys.readouterr().out
    assert "Re-plans" in (record.folder / "report.html").read_text()


def test_alarm_is_logged_and_warned_of_also_when_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = AlarmLine.from_json(alarm_line(2))
    with RunWriter.open(
        config_of(tmp_path, log_level=0), "demo", writes=True, display=RunDisplay()
    ) as record:
        record.start(start_of(facts()))
        record.alarm(line)
        record.replan(ReplanLine.from_json(adapted_log()[5]))
    assert [row["kind"] for row in log_lines(record.folder)] == ["start", "alarm", "replan"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: epoch 2: top-1 42.13%") and "Likely causes: 1. learning rate" in err
    assert len(err.splitlines()) == 1


def test_record_of_a_finished_run_is_written(tmp_path: Path) -> None:
    epoch = epoch_lines(1)[0]
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of({**facts(), "num_classes": 10}))
        record.epoch(epoch_of(epoch))
        assert not (record.folder / "record.json").exists()
        record.finish(result_of(result_line(epoch)))
    found = read_record(record.folder / "record.json")
    assert (found.name, found.recipe, found.top1) == ("one", "demo", epoch["top1"])
    assert found.data is not None and found.data.train_file == "train.beton"


def test_replay_leaves_no_record(tmp_path: Path) -> None:
    epoch = epoch_lines(1)[0]
    with RunWriter.open(config_of(tmp_path), "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts()))
        record.epoch(epoch_of(epoch | {"top1": None}))
        record.finish(result_of(result_line(epoch, replay=8, top1=None)))
    assert not (record.folder / "record.json").exists()
