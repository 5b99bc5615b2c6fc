"""The `gpu` marker's rule, tried out in a pytest run of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest

@pytest.mark.gpu
def test_on_gpu():
    pass

def test_anywhere():
    pass
"""


def _run(folder: Path, repository: Path, has_gpu: bool, *options: str) -> str:
    conftest = (repository / "tests/conftest.py").read_text(encoding="utf-8")
    reason = "" if has_gpu else "none in this machine"
    (folder / "conftest.py").write_text(f"{conftest}\n\ndef _why_no_gpu():\n    return {reason!r}\n")
    (folder / "test_sample.py").write_text(_TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(repository / "pyproject.toml"),
        "--rootdir",
        str(folder),
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *options, str(folder / "test_sample.py")],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return done.stdout + done.stderr


def test_gpu_test_runs_with_gpu(tmp_path: Path, repository: Path) -> None:
    assert "2 passed" in _run(tmp_path, repository, True)


def test_gpu_test_is_skipped_without_gpu(tmp_path: Path, repository: Path) -> None:
    output = _run(tmp_path, repository, False)
    assert "1 passed, 1 skipped" in output
    assert "needs a GPU: none in this machine" in output


def test_unknown_marker_is_error(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "test_typo.py").write_text(_TESTS.replace("mark.gpu", "mark.gpuu"))
    output = _run(tmp_path, repository, True, str(tmp_path / "test_typo.py"))
    assert "'gpuu' not found in `markers`" in output


_MANY = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_slow(number):
    pass

def test_quick():
    pass
"""


def _parts(folder: Path, repository: Path, *options: str) -> list[str]:
    (folder / "test_many.py").write_text(_MANY)
    output = _run(
        folder, repository, True, "-v", *options, str(folder / "test_many.py"), "--deselect", "test_sample.py"
    )
    return sorted(re.findall(r"test_many.py::(\S+) PASSED", output))


def test_part_runs_every_nth_of_the_selected_tests(tmp_path: Path, repository: Path) -> None:
    first, second = (_parts(tmp_path, repository, "-m", "slow", "--part", part) for part in ("1/2", "2/2"))
    assert first == ["test_slow[0]", "test_slow[2]", "test_slow[4]"]
    assert second == ["test_slow[1]", "test_slow[3]"]
    assert len(_parts(tmp_path, repository)) == 6


def test_impossible_part_is_refused(tmp_path: Path, repository: Path) -> None:
    assert "give K/N with K from 1 to N" in _run(tmp_path, repository, True, "--part", "3/2")


@pytest.mark.gpu
def test_cuda_device_computes() -> None:
    import torch

    assert torch.arange(10, device="cuda").sum().item() == 45
