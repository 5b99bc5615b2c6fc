"""Fill and drop a file's pages in the page cache, on a real file."""

import mmap
from pathlib import Path

import pytest

from benchmarks.harness.images import file_cache
from engine.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """4 MiB on a disk whose pages can be dropped."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (4 * 2**20 // 256))
    try:
        file_cache.drop(path)
    except UserError as error:
        pytest.skip(f"the temporary folder is in memory: {error}")
    return path


def test_file_is_dropped_and_filled_again(file: Path) -> None:
    assert file_cache.resident_share(file) == 0
    file_cache.fill(file)
    assert file_cache.resident_share(file) == 1
    file_cache.drop(file)
    assert file_cache.resident_share(file) == 0


def test_read_part_is_resident(file: Path) -> None:
    with open(file, "rb", buffering=0) as opened:
        opened.read(2**20)
    assert 0.25 <= file_cache.resident_share(file) < 1


def test_mapped_pages_stay_and_are_reported(file: Path) -> None:
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) >= 0
        with pytest.raises(UserError, match="stays in memory"):
            file_cache.drop(file)
