"""Writes past the page cache: the bytes of an ordinary file's, whatever the sizes, places and file system."""

import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.harness.images.file_cache import resident_share
from engine.data.beton.direct_file import _BLOCK, _BUFFER, DirectFile
from tests.full_disk import files_of_at_most

SIZES = st.one_of(
    st.integers(1, 3 * _BLOCK),
    st.sampled_from([_BLOCK, _BUFFER - 1, _BUFFER, _BUFFER + 1, 2 * _BUFFER + _BLOCK]),
)
"""Bytes of a write."""
GAPS = st.one_of(st.just(0), SIZES)
STEPS = st.lists(st.tuples(GAPS, SIZES, st.sampled_from(["go on", "flush", "reopen"])), max_size=6)
MEMORY = Path("/dev/shm")


def content(size: int, seed: int) -> bytes:
    return (bytes(range(1, 252)) * (size // 251 + 2))[seed % 251 :][:size]


def write_both(path: Path, steps: list[tuple[int, int, str]], head: int) -> tuple[bytes, bytes]:
    """What the file holds after these steps and a head at its beginning, and what it has to hold."""
    expected = io.BytesIO()
    path.write_bytes(b"")
    # Each group ends with its file closed, and the next one goes on behind.
    groups: list[list[tuple[int, int, str]]] = [[]]
    for step in steps:
        groups[-1].append(step)
        groups += [[]] if step[2] == "reopen" else []
    for group in groups:
        with open(path, "r+b", buffering=0) as file, DirectFile(file) as direct:
            direct.seek(expected.tell())
            for gap, size, then in group:
                for output in (expected, direct):
                    output.seek(output.tell() + gap)
                    output.write(content(size, seed=gap))
                if then == "flush":
                    direct.flush()
                    assert path.read_bytes() == expected.getvalue()
            if group is groups[-1]:
                for output in (expected, direct):
                    output.seek(0)
                    output.write(content(head, seed=99))
    return path.read_bytes(), expected.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, head=st.integers(0, 2 * _BLOCK))
def test_direct_file_equals_an_ordinary_file(
    tmp_path: Path, steps: list[tuple[int, int, str]], head: int
) -> None:
    found, expected = write_both(tmp_path / "file", steps, head)
    assert found == expected


LONG = [(0, _BUFFER + 5, "go on"), (3, 3 * _BUFFER, "flush"), (_BLOCK, 2 * _BUFFER + 9, "go on")]


def test_blocks_bypass_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w+b", buffering=0) as file, DirectFile(file) as direct:
        if direct._direct < 0:
            pytest.skip("this file system knows no direct writes")
        direct.write(content(4 * _BUFFER, 0))
        direct.flush()
        assert resident_share(path) == 0
    assert path.read_bytes() == content(4 * _BUFFER, 0)


@pytest.mark.skipif(not MEMORY.is_dir(), reason="there is no /dev/shm")
def test_memory_file_system_is_written() -> None:
    path = MEMORY / f"direct-{os.getpid()}"
    try:
        found, expected = write_both(path, LONG, 100)
    finally:
        path.unlink()
    assert found == expected


def test_file_system_without_direct_writes_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.data.beton.direct_file._open_direct", lambda descriptor: -1)
    found, expected = write_both(tmp_path / "file", LONG, 100)
    assert found == expected


def test_other_block_multiples_use_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w+b", buffering=0) as file, DirectFile(file) as direct:
        if direct._direct < 0:
            pytest.skip("this file system knows no direct writes")
        # Real disks refuse memory that begins at any byte, as others refuse blocks of 4 kB.
        direct._buffer = memoryview(bytearray(_BUFFER + 1))[1:]
        direct.write(content(_BUFFER, 7))
        direct.write(content(2 * _BUFFER + 5, 8))
        direct.flush()
        assert direct._direct < 0
    assert path.read_bytes() == content(_BUFFER, 7) + content(2 * _BUFFER + 5, 8)


def test_resuming_inside_a_file_keeps_the_rest(tmp_path: Path) -> None:
    path, before = tmp_path / "file", content(3 * _BLOCK, 1)
    path.write_bytes(before)
    with open(path, "r+b", buffering=0) as file, DirectFile(file) as direct:
        for offset in (5, _BLOCK + 5):
            direct.seek(offset)
            direct.write(b"new")
    assert path.read_bytes() == before[:5] + b"new" + before[8 : _BLOCK + 5] + b"new" + before[_BLOCK + 8 :]


def test_failed_write_fails_all_later_calls(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        direct = DirectFile(file)
        with files_of_at_most(_BUFFER), pytest.raises(OSError, match="File too large"):
            direct.write(content(4 * _BUFFER, 0))
        # There is room again, but what was lost stays lost.
        for _ in range(2):
            with pytest.raises(OSError) as told:
                direct.flush()
            assert told.value.errno == errno.EFBIG
        direct.close()
