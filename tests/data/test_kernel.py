"""Compiled kernels are kept on disk where that is possible, and not used once any source of theirs has changed."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from engine.data import kernel as kernel_module
from engine.data.kernel import cache_folder, kernel

_PLAN = """
import sys
import numpy as np
from engine.data.storage import YUV420, packing
packing.plan_crops(np.array([[1, 1, 3, 3, 0]], np.int32), YUV420.mode)
print(sum(packing._plan.stats.cache_hits.values()), packing._plan.stats.cache_path)
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sources that this process takes for engine/data; the user's cache folder is tmp_path/user."""
    folder = tmp_path / "data"
    (folder / "decoders").mkdir(parents=True)
    (folder / "decoders" / "one.py").write_text("x = 1\n")
    monkeypatch.setattr(kernel_module, "_FOLDER", folder)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return folder


def _chosen() -> Path | None:
    return cache_folder.__wrapped__()


def test_cache_lies_beside_the_sources(tree: Path) -> None:
    folder = _chosen()
    assert folder is not None and folder.is_dir() and folder.parent == tree / "__pycache__"
    assert _chosen() == folder


def test_changed_source_gets_a_new_cache(tree: Path) -> None:
    before = _chosen()
    (tree / "decoders" / "one.py").write_text("x = 2\n")
    after = _chosen()
    assert before is not None and after is not None and before != after
    assert list((tree / "__pycache__").iterdir()) == [after]


def test_read_only_sources_use_the_users_cache(tree: Path, tmp_path: Path) -> None:
    (tree / "__pycache__").write_text("a file, in which no folder can be made")
    folder = _chosen()
    assert folder is not None and folder.is_dir() and folder.parent == tmp_path / "user" / "imagenet-engine"


def test_cache_is_none_where_nothing_is_writable(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "__pycache__").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    assert _chosen() is None


def test_user_without_a_home_has_no_cache(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    (tree / "__pycache__").touch()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tree)
    assert _chosen() is None
    assert not (tree / "~").exists()


def test_numba_cache_setting_is_obeyed_and_kept(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    folder = _chosen()
    assert folder is not None and folder.parent == tmp_path / "numba"
    kernel(lambda x: x + 1)
    assert str(tmp_path / "numba") == numba.config.CACHE_DIR


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of the engine without compiled kernels."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(repository / "engine", tmp_path / "engine", ignore=ignored)
    return tmp_path


def _start(checkout: Path, **environment: str) -> tuple[int, str]:
    """Run a kernel in a new process: how many were loaded from the cache, and where it is ("None": nowhere)."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", _PLAN],
        cwd=checkout,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    hits, _, where = done.stdout.strip().partition(" ")
    return int(hits), where


@pytest.mark.slow
def test_second_start_compiles_nothing_until_a_source_changes(checkout: Path) -> None:
    (first, where), (second, _) = _start(checkout), _start(checkout)
    assert (first, second) == (0, 1)
    assert where.startswith(str(checkout / "engine/data/__pycache__/kernels-"))
    # The kernel that runs lies in packing.py.
    with (checkout / "engine/data/sampling/crops.py").open("a") as file:
        file.write("# changed\n")
    (third, elsewhere), (fourth, _) = _start(checkout), _start(checkout)
    assert (third, fourth) == (0, 1) and elsewhere != where


@pytest.mark.slow
def test_read_only_install_compiles_at_each_start(checkout: Path) -> None:
    (checkout / "engine/data/__pycache__").touch()
    for _ in range(2):
        assert _start(checkout, XDG_CACHE_HOME="/dev/null/none") == (0, "None")
