"""Versions, machine, revision: true where known, absent where not."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import engine
from engine.runs import machine


def test_versions_equal_the_installed_ones() -> None:
    versions = machine.versions()
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["engine"] == engine.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert list(versions) == ["python", "torch", "torchvision", "numba", "numpy", "ffcv", "engine"]


def test_machine_has_processor_and_usable_resources() -> None:
    facts = machine.machine()
    assert facts["cpu"]
    assert 1 <= facts["cores"] <= len(os.sched_getaffinity(0))
    assert facts["memory_gb"] > 0.1
    assert isinstance(facts["gpus"], list)


def test_revision_marks_a_changed_checkout_as_dirty(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert machine.revision(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert machine.revision(tmp_path) == {"commit": commit, "dirty": True}


def test_revision_is_none_outside_git_and_inside_another_repository(tmp_path: Path) -> None:
    assert machine.revision(tmp_path) is None
    _git(tmp_path, "init", "-q")
    (tmp_path / "unpacked").mkdir()
    assert machine.revision(tmp_path / "unpacked") is None


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
