"""How many images are measured, and that files without room are not begun."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.harness.images.sizing import enough_images, gather, l3_bytes
from engine.errors import UserError

GB = 10**9


def test_images_are_at_least_a_second_of_work() -> None:
    assert enough_images({"jpeg": 50_000, "yuv420": 115_000}, l3=32 * 10**6, memory=64 * GB) == 50_000


def test_large_cache_needs_more_images() -> None:
    # Four times 1 GB, in images of 50 kB.
    assert enough_images({"jpeg": 50_000, "yuv420": 115_000}, l3=GB, memory=64 * GB) == 80_000


def test_all_files_fit_into_half_of_the_memory() -> None:
    assert enough_images({"jpeg": 50_000, "raw": 450_000}, l3=GB, memory=8 * GB) == 8_000


def test_l3_cache_is_read_from_the_system(tmp_path: Path) -> None:
    assert l3_bytes(tmp_path) == 0
    for index, (level, size) in enumerate([("1", "48K"), ("1", "32K"), ("2", "2048K"), ("3", "491520K")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(level + "\n")
        (folder / "size").write_text(size + "\n")
    (tmp_path / "index4").mkdir()
    assert l3_bytes(tmp_path) == 480 * 2**20


def test_files_that_do_not_fit_are_not_begun(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    there = gather({"raw"}, folder, 600)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=there["raw"].bytes // 2))
    assert gather({"raw"}, folder, 600) == there
    files = set(cache.rglob("*.beton"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        gather({"raw"}, folder, 601)
    assert set(cache.rglob("*.beton")) == files
