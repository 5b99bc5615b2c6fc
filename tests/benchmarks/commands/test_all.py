"""`all`: a stage that fails or can't run is recorded, and the next one runs."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.commands import all as all_stages
from benchmarks.commands.all import main
from benchmarks.commands.gate import judge
from benchmarks.harness.processes.watched import Watched, watch
from benchmarks.records.layouts import LAYOUTS
from benchmarks.records.record_files import save
from benchmarks.records.record_page import as_markdown, render
from benchmarks.records.record_table import page
from benchmarks.stages import STAGES, Short, Stage
from engine.errors import UserError
from tests.benchmarks import record_checks

SMALL = "--what=step --arch=small_resnet --resolution=16 --batch=4 --precision=fp32 --seconds=0.01"


@pytest.mark.slow
def test_failing_stage_is_recorded_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorts = {
        "copy": Short(what="no GPU here", takes_images=False, needs_gpu=True),
        "loader": Short(what="an unknown peer", options="--against=nobody"),
        "roofline": Short(what="a step", options=SMALL, takes_images=False),
    }
    for stage, short in shorts.items():
        monkeypatch.setitem(STAGES, stage, Stage(help="", short=(short,)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["--stages=copy,loader,roofline", f"--json={tmp_path}/all.json"]) == 1
    copy, loader, roofline = record_checks.read(tmp_path / "all.json")
    assert copy["failed"].startswith("copy needs a CUDA device") and copy["not_run"]
    assert loader["failed"].startswith("no peer 'nobody'")
    record_checks.check(roofline)
    printed = capsys.readouterr().out
    assert "copy: no GPU here: not run: copy needs a CUDA device" in printed
    assert "roofline: a step: 1 comparisons" in printed
    for record in (copy, loader):
        assert f"not run: {record['failed']}" in page([record])


SHARED: dict[str, Any] = {
    "machine": {"cpu": "x", "cores": 2, "gpus": []},
    "versions": {"torch": "2"},
    "revision": "r",
    "started": "s",
    "short_run": "s",
}


@pytest.mark.parametrize("not_run", [True, False])
@pytest.mark.parametrize("stage", list(LAYOUTS))
def test_stage_without_records_is_shown_in_every_output(stage: str, not_run: bool) -> None:
    """Also one that crashed or took too long, of which none of its own facts are known."""
    record = all_stages._without(stage, "it | broke", SHARED, not_run=not_run)
    ended = "not run" if not_run else "failed"
    assert f"{ended}: it \\| broke" in page([record])
    assert f"{ended}: it | broke" in render([record]) and f"{stage}: {ended}: it | broke" in as_markdown(
        [record]
    )
    assert judge([record], [])[0][1] == "new"


def _of_command(*words: str) -> list[int]:
    return [
        process.pid for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == [*words]
    ]


def test_overlong_stage_ends_with_all_its_processes() -> None:
    # The shell waits for a process that has its output, and is deaf to what ends it.
    deaf = "trap '' INT; echo begun; sleep 3917 & wait; wait"
    run = watch(["bash", "-c", deaf], 1.0, grace=0.5)
    assert (run.last, run.in_time) == ("begun", False)
    assert run.code == -signal.SIGKILL
    assert _of_command("sleep", "3917") == []


def test_overlong_stage_removes_its_files(tmp_path: Path) -> None:
    words = f"import tempfile, time; t = tempfile.TemporaryDirectory(dir={str(tmp_path)!r}); time.sleep(600)"
    assert not watch([sys.executable, "-c", words], 1.0).in_time
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_leaves_no_process(repository: Path, tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-m", "benchmarks", "all", "--stages=read", f"--json={tmp_path}/all.json"]
    environment = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    with subprocess.Popen(
        command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        started: list[psutil.Process] = []
        while not started:
            started = psutil.Process(run.pid).children(recursive=True)
            time.sleep(0.05)
        run.send_signal(sent)
        _, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (130, "interrupted\n")
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_interrupted_stage_keeps_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = all_stages._without("read", "as good as any", SHARED, not_run=False)

    def interrupted(command: Sequence[str], longest: float) -> Watched:
        (path,) = (word.removeprefix("--json=") for word in command if word.startswith("--json="))
        save(Path(path), [record])
        raise KeyboardInterrupt

    monkeypatch.setattr(all_stages, "watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["--stages=read", f"--json={tmp_path}/all.json"])
    (kept,) = record_checks.read(tmp_path / "all.json")
    assert kept["failed"] == "as good as any" and kept["short_run"]


@pytest.mark.parametrize(("gpus", "code"), [([], 0), (["NVIDIA H100"], 1)])
def test_gpu_stage_may_fail_only_without_a_gpu(
    gpus: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {**SHARED, "machine": {**SHARED["machine"], "gpus": gpus}}
    monkeypatch.setattr(all_stages, "context", lambda: dict(shared))
    ended = Watched(code=70, last="IndexError", in_time=True, seconds=1.0)
    monkeypatch.setattr(all_stages, "watch", lambda command, longest: ended)
    assert main(["--stages=copy"]) == code
    assert "copy: host to GPU: failed: IndexError" in capsys.readouterr().out


def test_last_printed_line_is_returned() -> None:
    words = "print('one'); print('two'); print(); raise SystemExit(3)"
    run = watch([sys.executable, "-c", words], 60)
    assert (run.code, run.last, run.in_time) == (3, "two", True)


def test_unknown_stage_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="--stages"):
        main(["--stages=loader,lodar"])
