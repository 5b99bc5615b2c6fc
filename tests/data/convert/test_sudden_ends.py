"""Conversions that are killed or interrupted end within seconds and leave no process and no false file."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from tests.data.conversions import PARTS, names

ROOT = Path(__file__).parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def long_source(tmp_path: Path) -> Path:
    """A source that takes this machine tens of seconds: one large photo under 3,000 names."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    image = tmp_path / "image.jpg"
    image.write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())
    for split, count in (("train", 3000), ("val", 2)):
        folder = tmp_path / "long" / split / "k"
        folder.mkdir(parents=True)
        for i in range(count):
            os.link(image, folder / f"{i:05d}.jpg")
    return tmp_path / "long"


@pytest.fixture
def starting(long_source: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A conversion to `out` that has just been started, with two workers; it ends with the test."""
    command = [sys.executable, str(ROOT / "write_dataset.py"), f"--source.path={long_source}"]
    command += ["--output.folder=out", "--output.num_workers=2", "--output.max_resolution=400"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        # The whole group in any case: a worker left behind would hold the pipes open, and communicate wait.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def conversion(starting: "subprocess.Popen[str]", tmp_path: Path) -> "subprocess.Popen[str]":
    """The same under way: the workers are at work and a part of train.beton is written."""
    partial = tmp_path / "out/train.beton.partial"
    _wait_for(lambda: partial.exists() and partial.stat().st_size > 9 * 2**20, "a part of train.beton")
    assert starting.poll() is None
    return starting


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.05)


def _workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    workers = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "--multiprocessing-fork" in child.cmdline():
                workers.append(child)
    return workers


def _gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_kill_9_of_conversion_leaves_no_file_and_no_process(
    conversion: "subprocess.Popen[str]", write_dataset: Run, pets: Path, tmp_path: Path
) -> None:
    workers = _workers(conversion)
    assert len(workers) == 2
    conversion.kill()
    conversion.wait()
    _wait_for(lambda: _gone(workers), "end of the workers", 15)
    assert names(tmp_path / "out") == PARTS
    done = write_dataset(f"source.path={pets}", "output.folder=out", "output.num_workers=1")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_kill_9_of_worker_ends_conversion_within_seconds(
    conversion: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    workers = _workers(conversion)
    workers[0].kill()
    _, errors = conversion.communicate(timeout=15)
    assert conversion.returncode == 2
    assert errors.count("\n") == 1, errors
    assert errors.startswith("error: an encoding process was killed")
    assert _gone(workers)
    assert names(tmp_path / "out") == PARTS


def test_ctrl_c_ends_the_conversion_cleanly(conversion: "subprocess.Popen[str]", tmp_path: Path) -> None:
    workers = _workers(conversion)
    # As a terminal does: to every process of the group.
    os.killpg(conversion.pid, signal.SIGINT)
    _, errors = conversion.communicate(timeout=15)
    assert conversion.returncode == 130
    assert errors == "interrupted\n"
    assert _gone(workers)
    assert names(tmp_path / "out") == PARTS


def test_sigterm_keeps_what_is_done_and_says_so(conversion: "subprocess.Popen[str]", tmp_path: Path) -> None:
    workers = _workers(conversion)
    conversion.terminate()
    printed, errors = conversion.communicate(timeout=15)
    assert (conversion.returncode, errors) == (
        75,
        "interrupted: SIGTERM: start the same command again to resume\n",
    )
    assert "kept in out: 2 of 2 val images, " in printed
    assert _gone(workers)
    assert names(tmp_path / "out") == PARTS


@pytest.mark.slow
def test_sigterm_to_all_processes_is_one_line(conversion: "subprocess.Popen[str]", tmp_path: Path) -> None:
    workers = _workers(conversion)
    # As some schedulers do.
    os.killpg(conversion.pid, signal.SIGTERM)
    _, errors = conversion.communicate(timeout=15)
    assert errors.count("\n") == 1 and conversion.returncode in (2, 75), errors
    assert _gone(workers)
    assert names(tmp_path / "out") == PARTS


def test_ctrl_c_while_workers_start_ends_cleanly(starting: "subprocess.Popen[str]", tmp_path: Path) -> None:
    _wait_for(lambda: len(_workers(starting)) > 0, "worker")
    os.killpg(starting.pid, signal.SIGINT)
    _, errors = starting.communicate(timeout=30)
    assert starting.returncode == 130
    assert errors == "interrupted\n"
    assert names(tmp_path / "out") == []
