"""A run's log after whatever ended it: half a line, kill -9, a second process, a log that is gone."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.report.run_display import RunDisplay
from engine.runs.log_reader import build_history, read_log
from engine.runs.run_writer import RunWriter
from tests.report.runs import (
    config_of,
    epoch_lines,
    epoch_of,
    facts,
    log_lines,
    start_line,
    start_of,
    steps_lines,
    steps_of,
)


@pytest.mark.parametrize("tail", [b'{"kind": "epoch", "epo', b"\0" * 64, b'{"a": 1}garbage'])
def test_half_line_is_dropped_with_a_note(
    tmp_path: Path, tail: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _started_run(tmp_path, tail)
    with RunWriter.open(config, "demo", writes=True, display=RunDisplay()) as record:
        record.epoch(epoch_of(epoch_lines(1)[0]))
    assert [line["kind"] for line in log_lines(record.folder)] == ["start", "epoch"]
    assert "left out 1 incomplete line(s)" in capsys.readouterr().err


def test_last_line_without_newline_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _started_run(tmp_path, json.dumps(epoch_lines(2)[0]).encode())
    with RunWriter.open(config, "demo", writes=True, display=RunDisplay()) as record:
        record.epoch(epoch_of(epoch_lines(2)[1]))
    assert [line.get("epoch") for line in log_lines(record.folder)] == [None, 1, 2]
    assert "note:" not in capsys.readouterr().err


def test_log_of_one_half_line_is_emptied(tmp_path: Path) -> None:
    config = _started_run(tmp_path, b'{"ki')
    (tmp_path / "one" / "log.jsonl").write_bytes(b'{"ki')
    RunWriter.open(config, "demo", writes=True, display=RunDisplay()).close()
    assert (tmp_path / "one" / "log.jsonl").read_bytes() == b""


_WRITER = """
import sys
from engine.config.train.train_config import DataConfig, LoggingConfig, TrainConfig
from engine.report.run_display import RunDisplay
from engine.runs.run_writer import RunWriter
from tests.report.runs import epoch_lines, epoch_of, start_of
config = TrainConfig(data=DataConfig(train_dataset="a", val_dataset="b"),
                     logging=LoggingConfig(folder=sys.argv[1], name="one", log_level=0))
record = RunWriter.open(config, "demo", writes=True, display=RunDisplay())
record.start(start_of({}))
for line in epoch_lines(100000):
    record.epoch(epoch_of(line))
    # As for a copy elsewhere: a POSIX lock on the log itself would end here.
    (record.folder / "log.jsonl").read_bytes()
    print(line["epoch"], flush=True)
"""


def test_log_survives_kill_9_and_has_one_writer(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            told = int(writer.stdout.readline())
        resume = config_of(tmp_path, resume=str(tmp_path / "one"))
        with pytest.raises(UserError, match="in use by another process"):
            RunWriter.open(resume, "demo", writes=True, display=RunDisplay())
        writer.send_signal(signal.SIGKILL)
    with RunWriter.open(resume, "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts() | {"resumed_at_epoch": told}))
    kinds = [line["kind"] for line in log_lines(record.folder)]
    assert kinds[0] == kinds[-1] == "start"
    assert kinds.count("epoch") == told == 5
    assert not (record.folder / ".lock").exists()


def test_folder_with_lost_log_is_refused_until_log_is_touched(tmp_path: Path) -> None:
    config, folder = config_of(tmp_path), tmp_path / "one"
    RunWriter.open(config, "demo", writes=True, display=RunDisplay()).close()
    (folder / "log.jsonl").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "epoch_003_step_000120.pt").touch()
    with pytest.raises(UserError, match="one holds a run already"):
        RunWriter.open(config, "demo", writes=True, display=RunDisplay())
    resume = config_of(tmp_path, resume=str(folder))
    with pytest.raises(
        UserError, match=r"log\.jsonl is gone, .* `touch .*one/log\.jsonl`, and the run resumes"
    ):
        RunWriter.open(resume, "demo", writes=True, display=RunDisplay())
    (folder / "log.jsonl").touch()
    with RunWriter.open(resume, "demo", writes=True, display=RunDisplay()) as record:
        record.start(start_of(facts() | {"resumed_at_epoch": 3}))
    assert len(log_lines(folder)) == 1


def _started_run(folder: Path, tail: bytes) -> TrainConfig:
    """The configuration that resumes a run whose log is a start line and then `tail`."""
    config = config_of(folder)
    RunWriter.open(config, "demo", writes=True, display=RunDisplay()).close()
    path = folder / "one" / "log.jsonl"
    path.write_bytes(json.dumps(start_line()).encode() + b"\n" + tail)
    return config_of(folder, resume=str(path.parent))


def _logged(folder: Path, epochs: int, first: int = 1, **started: object) -> list[tuple[str, object]]:
    """Log a run's start and its epochs from `first` on; what its log has then."""
    resume = str(folder / "one") if started else ""
    with RunWriter.open(
        config_of(folder, resume=resume), "demo", writes=True, display=RunDisplay()
    ) as record:
        record.start(start_of({**facts(), **started}))
        for line in epoch_lines(epochs)[first - 1 :]:
            for told in steps_lines(line["epoch"], [1.0, 0.9]):
                record.steps(steps_of(told))
            record.epoch(epoch_of(line))
    return [(line["kind"], line.get("epoch")) for line in log_lines(folder / "one")]


def test_resumed_run_has_each_epoch_once(tmp_path: Path) -> None:
    whole = _logged(tmp_path, 2)
    log = tmp_path / "one" / "log.jsonl"
    odd = b'{"kind": "of later versions", "epoch": 2}\n{"kind": "epoch", "epoch": "two"}\n'
    log.write_bytes(log.read_bytes() + odd)
    found = _logged(tmp_path, 3, 2, resumed_at_epoch=1, resumed_at_step=50)
    assert found[:5] == [*whole[:4], ("steps", 2)], "up to the checkpoint"
    assert found[5:7] == [("of later versions", 2), ("epoch", "two")], "unknown lines stay"
    assert found[7] == ("start", None)
    assert [number for kind, number in found if kind == "epoch"] == [1, "two", 2, 3]
    assert [line.epoch for line in build_history(read_log(log)[0]).epochs] == [1, 2, 3]


def test_start_that_repeats_nothing_is_appended(tmp_path: Path) -> None:
    _logged(tmp_path, 1)
    log = tmp_path / "one" / "log.jsonl"
    before, inode = log.read_bytes(), log.stat().st_ino
    _logged(tmp_path, 2, 2, resumed_at_epoch=1, resumed_at_step=0)
    assert log.read_bytes().startswith(before) and log.stat().st_ino == inode


def test_full_disk_at_a_resumed_start_leaves_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _logged(tmp_path, 2)
    log = tmp_path / "one" / "log.jsonl"
    before = log.read_bytes()

    replace = os.replace

    def full(partial: Path, path: Path) -> None:
        if path == log:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(partial, path)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"log\.jsonl: the disk is full"):
        patch.setattr("engine.files.os.replace", full)
        _logged(tmp_path, 2, 3, resumed_at_epoch=1, resumed_at_step=0)
    assert log.read_bytes() == before
