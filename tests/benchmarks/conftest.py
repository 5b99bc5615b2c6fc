"""Benchmarks run with a cache of their own and with tiny amounts of work; nothing here is judged by time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = ("--images=12", "--resolution=16", "--scale=0.35", "--seconds=0.01", "--batch=4", "--cores=1")


@pytest.fixture(scope="session")
def cache_of_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of these tests keep their files, so that equal ones are made once."""
    return tmp_path_factory.mktemp("cache")


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
