"""What the tests of benchmarks share: a cache of their own, tiny work, and sides of a few lines."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from benchmarks.harness.images.prepared import synthetic_photo
from benchmarks.sides import OURS, PEERS, Side

Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = ("--images=12", "--resolution=16", "--scale=0.35", "--seconds=0.01", "--batch=4", "--cores=1")


@pytest.fixture(scope="session")
def cache_of_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where these tests keep their files, so that equal ones are made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cores_given_back() -> Iterator[None]:
    """Some stages keep their process to one core: in these tests that is the test process."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def cache(cache_of_session: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, for the length of a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_of_session))
    return cache_of_session


@pytest.fixture
def loader_benchmark(cache: Path, repository: Path) -> Run:
    """Run `python -m benchmarks loader` as a user does, with tiny work; further options may be given."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", "loader", *TINY, *options],
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten photos at different depths, and a file that is no image."""
    for i in range(10):
        path = tmp_path / "photos" / ("deep" if i % 2 else "") / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.resize(synthetic_photo(i), (40 + i, 30))
        assert cv2.imwrite(str(path.with_suffix(".jpg")), image)
        path.with_suffix(".jpg").rename(path)
    (tmp_path / "photos" / "README").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def plain_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Registers sides of a few lines: `plain_side(name, body)` enters one as ours and as a peer of loader and decode.

    It runs in a real process, without torch, and gives empty batches. `body` runs when it is opened.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def enter(name: str, body: str) -> None:
        (tmp_path / f"{name}_side.py").write_text(_PLAIN_SIDE.format(body=body))
        side = Side(entry=f"{name}_side:open_side", storage="jpeg", options={"decoder": "cpu"})
        for stage in ("loader", "decode"):
            monkeypatch.setitem(OURS[stage], name, side)
            monkeypatch.setitem(PEERS[stage], name, side)

    return enter


_PLAIN_SIDE = """
import os
import numpy as np

class Side:
    settings = "plain"

    def __init__(self, task):
        self.task = task
        {body}

    def epoch(self, number, batches, resolution):
        for _ in range(batches):
            yield np.zeros(self.task.batch, np.int64)

    def one_pass(self):
        from engine.data.beton.reader import open_beton
        yield open_beton(self.task.beton).labels

    def centre_crops(self, count):
        return np.zeros((count, 3, 8, 8), np.float32), np.zeros(count, np.int64)

def open_side(task, decoder):
    return Side(task)
"""
