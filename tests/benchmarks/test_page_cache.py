"""Putting a file into the page cache and taking it out, on a real file."""

import mmap
from pathlib import Path

import pytest

from benchmarks.harness.images import file_cache as page_cache
from engine.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """4 MiB on a disk whose pages can be dropped."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (4 * 2**20 // 256))
    try:
        page_cache.drop(path)
    except UserError as error:
        pytest.skip(f"the temporary folder is in memory: {error}")
    return path


def test_a_file_is_taken_out_and_put_back(file: Path) -> None:
    assert page_cache.resident_share(file) == 0
    page_cache.fill(file)
    assert page_cache.resident_share(file) == 1
    page_cache.drop(file)
    assert page_cache.resident_share(file) == 0


def test_a_part_that_was_read_is_resident(file: Path) -> None:
    with open(file, "rb", buffering=0) as opened:
        opened.read(2**20)
    assert 0.25 <= page_cache.resident_share(file) < 1


def test_pages_that_someone_maps_stay_and_that_is_told(file: Path) -> None:
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) >= 0
        with pytest.raises(UserError, match="stays in memory"):
            page_cache.drop(file)
