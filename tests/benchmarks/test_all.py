"""`all`: every stage has a short version, one that fails or can't run is a record, and the next goes on."""

import importlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.commands import all as bench_all
from benchmarks.__main__ import STAGES
from benchmarks.commands.all import main
from benchmarks.commands.gate import judge
from benchmarks.records.layouts import LAYOUTS
from benchmarks.records.record_files import save
from benchmarks.records.record_page import as_markdown, render
from benchmarks.stages import SHORT, Short
from benchmarks.records.record_table import page
from engine.errors import UserError
from tests.benchmarks import records

SMALL = "--what=step --arch=small_resnet --resolution=16 --batch=4 --precision=fp32 --seconds=0.01"


SHARED: dict[str, Any] = {
    "machine": {"cpu": "x", "cores": 2, "gpus": []},
    "versions": {"torch": "2"},
    "revision": "r",
    "started": "s",
    "short_run": "s",
}
WAYS_OF_TRAINING = {"accuracy", "augment", "blurpool", "techniques"}


def test_every_stage_of_throughput_has_a_short_version() -> None:
    assert set(SHORT) == set(STAGES) - {"all", "gate", "readme", "report", *WAYS_OF_TRAINING}


@pytest.mark.parametrize("stage", list(SHORT))
def test_each_stage_takes_its_short_options(stage: str) -> None:
    module = importlib.import_module(STAGES[stage][0].partition(":")[0])
    for each in SHORT[stage]:
        options = module._parse(shlex.split(each.options))
        assert hasattr(options, "data") == each.takes_images


@pytest.mark.slow
def test_a_stage_that_fails_is_recorded_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorts = {
        "copy": (Short(what="no GPU here", takes_images=False, needs_gpu=True),),
        "loader": (Short(what="asked for what is not there", options="--against=nobody"),),
        "roofline": (Short(what="a step", options=SMALL, takes_images=False),),
    }
    monkeypatch.setattr(bench_all, "SHORT", shorts)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["--stages=copy,loader,roofline", f"--json={tmp_path}/all.json"]) == 1
    copy, loader, roofline = records.read(tmp_path / "all.json")
    assert copy["failed"].startswith("copy needs a CUDA device") and copy["not_run"]
    assert loader["failed"].startswith("no peer 'nobody'")
    records.check(roofline)
    printed = capsys.readouterr().out
    assert "copy: no GPU here: not run: copy needs a CUDA device" in printed
    assert "roofline: a step: 1 comparisons" in printed
    for record in (copy, loader):
        assert f"not run: {record['failed']}" in page([record])


@pytest.mark.parametrize("not_run", [True, False])
@pytest.mark.parametrize("stage", list(LAYOUTS))
def test_a_stage_that_gave_nothing_is_told_as_such_everywhere(stage: str, not_run: bool) -> None:
    """Also one that crashed or took too long, of which none of its own facts are known."""
    record = bench_all._without(stage, "it | broke", SHARED, not_run=not_run)
    ended = "not run" if not_run else "failed"
    assert f"{ended}: it \\| broke" in page([record])
    assert f"{ended}: it | broke" in render([record]) and f"{stage}: {ended}: it | broke" in as_markdown(
        [record]
    )
    assert judge([record], [])[0][1] == "new"


def test_a_stage_that_takes_too_long_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_all, "_GRACE", 0.5)
    # The shell waits for a process that has its output, and is deaf to what ends it.
    deaf = "trap '' INT; echo begun; sleep 3917 & wait; wait"
    code, last, in_time = bench_all._watch(["bash", "-c", deaf], 1.0)
    assert (last, in_time) == ("begun", False)
    assert code == -signal.SIGKILL
    assert _of_command("sleep", "3917") == []


def test_a_stage_that_takes_too_long_may_tidy_up(tmp_path: Path) -> None:
    words = f"import tempfile, time; t = tempfile.TemporaryDirectory(dir={str(tmp_path)!r}); time.sleep(600)"
    _, _, in_time = bench_all._watch([sys.executable, "-c", words], 1.0)
    assert not in_time
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_no_process(repository: Path, tmp_path: Path, sent: signal.Signals) -> None:
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


def test_what_an_interrupted_stage_has_recorded_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bench_all._without("read", "as good as any", SHARED, not_run=False)

    def interrupted(command: Sequence[str], longest: float) -> tuple[int, str, bool]:
        (path,) = (word.removeprefix("--json=") for word in command if word.startswith("--json="))
        save(Path(path), [record])
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_all, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["--stages=read", f"--json={tmp_path}/all.json"])
    (kept,) = records.read(tmp_path / "all.json")
    assert kept["failed"] == "as good as any" and kept["short_run"]


@pytest.mark.parametrize(("gpus", "code"), [([], 0), (["NVIDIA H100"], 1)])
def test_only_where_there_is_no_gpu_its_stages_may_fail(
    gpus: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {**SHARED, "machine": {**SHARED["machine"], "gpus": gpus}}
    monkeypatch.setattr(bench_all, "context", lambda: dict(shared))
    monkeypatch.setattr(bench_all, "_watch", lambda command, longest: (70, "IndexError", True))
    assert main(["--stages=copy"]) == code
    assert "copy: host to GPU: failed: IndexError" in capsys.readouterr().out


def _of_command(*words: str) -> list[int]:
    return [
        process.pid for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == [*words]
    ]


def test_what_it_prints_last_is_known() -> None:
    words = "print('one'); print('two'); print(); raise SystemExit(3)"
    assert bench_all._watch([sys.executable, "-c", words], 60) == (3, "two", True)


def test_a_page_of_several_stages_has_each_one_s_table() -> None:
    found = [
        bench_all._without(stage, f"no {stage}", SHARED, not_run=True) for stage in ("read", "copy", "read")
    ]
    text = page(found)
    assert text.index("# read, cpu") < text.index("# copy, cpu")
    assert text.count("not run: no read") == 2


def test_an_unknown_stage_is_one_line() -> None:
    with pytest.raises(UserError, match="--stages"):
        main(["--stages=loader,lodar"])
