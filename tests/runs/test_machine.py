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


def test_container_limits_are_applied(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert machine.usable_cores(tmp_path / "cpu.max") == 1
    assert machine.usable_memory(tmp_path / "memory.max") == 1048576


def test_missing_limits_give_the_machine_resources(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    for folder in (tmp_path, tmp_path / "missing"):
        assert machine.usable_cores(folder / "cpu.max") == len(os.sched_getaffinity(0))
        assert machine.usable_memory(folder / "memory.max") > 1048576


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
