"""Reading ahead reaches the file's end, ends when asked to, and never stands in the way of the real reader."""

import os
import threading
from pathlib import Path

import pytest

from engine.data.loading import page_cache
from engine.data.loading.page_cache import ReadAhead, shortage
from engine.limits import free_memory


def test_read_ahead_reads_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "_CHUNK", 1000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ahead = ReadAhead(pipe)
    # A pipe holds 64 KiB: all of this is accepted only if all of it is read.
    with open(pipe, "wb") as file:
        assert file.write(bytes(1_000_001)) == 1_000_001
    ahead.wait()
    ahead.close()


def test_closing_ends_the_read_ahead_thread_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "_CHUNK", 1)
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(2**40)
    before = threading.active_count()
    ahead = ReadAhead(path)
    assert threading.active_count() == before + 1
    ahead.close()
    ahead.close()
    assert threading.active_count() == before


def test_read_ahead_ignores_a_file_it_cannot_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        ahead = ReadAhead(path)
        ahead.wait()
        ahead.close()


def test_file_larger_than_memory_is_named_with_both_sizes() -> None:
    message = shortage(Path("data/train.beton"), 2**42)
    assert message.startswith("data/train.beton (4398.0 GB) does not fit into memory (")
    assert message.endswith(" GB available)")


def test_file_that_fits_has_no_shortage() -> None:
    assert shortage("train.beton", free_memory() // 2) == ""
