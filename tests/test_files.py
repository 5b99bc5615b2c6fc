"""A file is under its name whole or not at all, whatever ends its writing; nothing is left beside it."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.files import atomic_write


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
        file.seek(0)
        assert file.read() == b"one"
    assert path.read_bytes() == b"one" and _names(tmp_path) == ["data"]


def test_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_bytes() == b"old" and _names(tmp_path) == ["data"]


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "data"):
        raise KeyboardInterrupt
    assert _names(tmp_path) == []


def test_kill_9_leaves_no_file_under_the_final_name(tmp_path: Path, repository: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from engine.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * 10**6); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")], cwd=repository, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    (left,) = _names(tmp_path)
    assert left.startswith("data.partial-")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/data", "does not exist"),
        ("file/data", "is a file, not a folder"),
        ("folder", "is a folder, not a file"),
        ("n" * 300, "too long: shorten it"),
    ],
)
def test_unwritable_path_is_a_user_error(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=reason) as caught, atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert str(tmp_path / name) in str(caught.value)
    assert _names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "data"
    # The partial file's name is foreseeable; here it leads to a device that is always full.
    (tmp_path / f"data.partial-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"), atomic_write(path) as file:
        file.write(b"x" * 100_000)
    assert _names(tmp_path) == []


def test_error_of_another_file_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "data"):
        (tmp_path / "other").read_bytes()
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [OSError("cannot identify image file"), BrokenPipeError(errno.EPIPE, "Broken pipe"), TimeoutError()],
)
def test_error_unrelated_to_writing_passes_unchanged(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)), atomic_write(tmp_path / "data"):
        raise error
    assert _names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_folder_that_cannot_sync_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    synced: list[int] = []

    def fsync(handle: int) -> None:
        synced.append(handle)
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "data") as file:
        file.write(b"x")
    assert len(synced) == 2 and _names(tmp_path) == ["data"]


def test_no_descriptor_or_thread_is_leaked(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(20):
        with atomic_write(tmp_path / "data") as file:
            file.write(bytes([number]))
        with pytest.raises(KeyError), atomic_write(tmp_path / "data"):
            raise KeyError
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
