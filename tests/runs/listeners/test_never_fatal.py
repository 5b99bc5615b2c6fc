"""A further log that fails, at any time and for any reason, is told in one line, and the run goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.config.train.logging import FURTHER_LOGS, LoggingConfig
from engine.errors import UserError
from engine.runs.listeners.listener import LISTENERS
from engine.runs.log_schema import AlarmLine, ReplanLine
from tests.report.runs import (
    adapted_log,
    alarm_line,
    epoch_lines,
    epoch_of,
    result_line,
    result_of,
    start_of,
    steps_lines,
    steps_of,
)
from tests.runs.listeners.listened import FACTS, open_record

PLACES = {"csv": "log.csv", "tensorboard": "tensorboard", "wandb": "wandb"}


def _run(folder: Path, also: str, between: Callable[[Path], object] = lambda _: None) -> list[str]:
    """A run of eight epochs, with something done after the first; returns the kinds of its log's lines."""
    first, *others = lines = epoch_lines(8)
    with open_record(folder, also) as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(first))
        between(record.folder)
        for line in others:
            for steps in steps_lines(line["epoch"], [2.0, 1.5]):
                record.steps(steps_of(steps))
            record.epoch(epoch_of(line))
        record.finish(result_of(result_line(lines[-1])))
    return [json.loads(row)["kind"] for row in (record.folder / "log.jsonl").read_text().splitlines()]


ALL = ["start", "epoch", *["steps", "steps", "epoch"] * 7, "result"]


def _notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert err == ""
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert all(note.endswith("; the run continues without it") for note in notes)
    assert "Traceback" not in out
    return notes


def test_every_listener_is_registered_and_an_option() -> None:
    assert LISTENERS.names() == sorted(FURTHER_LOGS) == sorted(PLACES)


def test_unknown_listener_is_refused_with_nearest_name() -> None:
    with pytest.raises(
        UserError, match=r"logging\.also: unknown log 'tensorbord' \(did you mean 'tensorboard'"
    ):
        LoggingConfig(also="csv,tensorbord").also_list()
    assert LoggingConfig(also=" wandb , csv,,wandb").also_list() == ["wandb", "csv"]


@pytest.mark.parametrize("name", LISTENERS.names())
def test_listener_with_occupied_path_is_dropped(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "one" / PLACES[name]
    if name == "csv":
        (place / "a folder where the file should be").mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True)
        place.write_text("a file where the folder should be")
    assert _run(tmp_path, name) == ALL
    (note,) = _notes(capsys)
    assert note.startswith(f"note: {name}: ") and PLACES[name] in note


def _run_in_a_process(folder: Path, also: str, before: str = "", between: str = "kill_nothing") -> str:
    """The note of such a run. What is imported once stays, and what is told at a process's end counts too."""
    code = (
        f"import sys; from pathlib import Path; from tests.runs.listeners import test_never_fatal as these; {before}\n"
        f"print(these._run(Path({str(folder)!r}), {also!r}, these.{between}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    note, *_, kinds = done.stdout.splitlines()
    assert kinds == str(ALL)
    assert note.endswith("; the run continues without it")
    assert done.stdout.count("the run continues") == 1
    return note


def kill_nothing(folder: Path) -> None:
    """Between two epochs."""


def kill_wandb(folder: Path) -> None:
    """End the process that wandb has started, as the system does where memory is short."""
    children = psutil.Process().children(recursive=True)
    started = [child for child in children if "wandb" in " ".join(child.cmdline())]
    assert started
    for child in started:
        child.kill()
    psutil.wait_procs(started)


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_listener_not_installed_is_dropped(package: str, tmp_path: Path) -> None:
    note = _run_in_a_process(tmp_path, package, before=f"sys.modules[{package!r}] = None")
    assert note.startswith(f"note: {package}: it can't be imported (")
    assert f"): pip install {package}; " in note


def test_wandb_whose_process_is_killed_is_dropped(tmp_path: Path) -> None:
    assert _run_in_a_process(tmp_path, "wandb", between="kill_wandb").startswith("note: wandb: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Mounts a disk of 4 MiB (tmpfs) as one/PLACE; skips where this process may not."""
    mounted: list[Path] = []

    def mount(place: str) -> None:
        folder = tmp_path / "one" / place
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 4096)
            except OSError:
                return


def test_tensorboard_on_full_disk_is_dropped(
    tmp_path: Path, small_disk: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk("tensorboard")
    assert _run(tmp_path, "tensorboard", lambda folder: _fill(folder / "tensorboard")) == ALL
    (note,) = _notes(capsys)
    assert note == "note: tensorboard: [Errno 28] No space left on device; the run continues without it"


def test_wandb_on_full_disk_is_dropped(
    tmp_path: Path, small_disk: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk("wandb")
    assert _run(tmp_path, "wandb", lambda folder: _fill(folder / "wandb")) == ALL
    (note,) = _notes(capsys)
    assert note == f"note: wandb: {tmp_path}/one/wandb: No space left on device; the run continues without it"


def test_csv_that_fails_later_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def put_a_folder_there(folder: Path) -> None:
        (folder / "log.csv").unlink()
        (folder / "log.csv" / "inner").mkdir(parents=True)

    assert _run(tmp_path, "csv", put_a_folder_there) == ALL
    (note,) = _notes(capsys)
    assert "log.csv" in note


def test_failing_listener_leaves_others_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one" / "log.csv" / "inner").mkdir(parents=True)
    assert _run(tmp_path, "csv,tensorboard") == ALL
    assert len(_notes(capsys)) == 1
    assert list((tmp_path / "one" / "tensorboard").iterdir())


def test_listeners_pass_over_replans_and_alarms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = epoch_lines(2)
    with open_record(tmp_path, "csv,tensorboard") as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(first))
        record.replan(ReplanLine.from_json(adapted_log()[5]))
        record.alarm(AlarmLine.from_json(alarm_line(1)))
        record.epoch(epoch_of(second))
    assert "note:" not in capsys.readouterr().out
    assert len((record.folder / "log.csv").read_text().splitlines()) == 3
