"""Records in plain reads: each one's bytes, whatever lies between them, and what happens when the file fails."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.beton import bulk_reader
from engine.data.beton.bulk_reader import RecordReader, Stretch
from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton, open_beton
from engine.errors import UserError
from tests.data.betons import record, write_pixels
from tests.data.conftest import photo

COUNT = 30


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """Raw images of 0.5 to 120 KB, in two pages."""
    pictures = [photo(10 + 5 * (seed % 7), 20 + 40 * seed, seed) for seed in range(COUNT)]
    path = write_pixels(tmp_path_factory.mktemp("stretches"), pictures)
    return open_beton(path)


def contents(stretch: Stretch) -> tuple[list[int], list[bytes], list[int]]:
    rows = range(len(stretch.samples))
    return (
        stretch.samples.tolist(),
        [bytes(stretch.record(row)) for row in rows],
        stretch.checksums().tolist(),
    )


@given(
    samples=st.lists(st.integers(0, COUNT - 1), max_size=2 * COUNT),
    size=st.sampled_from([1, 1000, 50_000, 2**22]),
    gap=st.sampled_from([0, 1000, 2**20]),
)
@settings(max_examples=30, deadline=None)
def test_any_samples_are_read_in_any_order(beton: Beton, samples: list[int], size: int, gap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_reader, "_STRETCH", size)
        patch.setattr(bulk_reader, "_GAP", gap)
        with RecordReader(beton) as reader:
            found = list(reader.examine(np.array(samples, np.int64), contents))
    assert [sample for part in found for sample in part[0]] == samples
    expected = [record(beton, sample) for sample in samples]
    assert [data for part in found for data in part[1]] == expected
    assert [one for part in found for one in part[2]] == [crc32(data) for data in expected]


def test_neighbours_are_read_together_up_to_the_limit(beton: Beton) -> None:
    with RecordReader(beton) as reader:
        sizes = list(reader.examine(np.arange(COUNT), lambda stretch: stretch.data.nbytes))
        assert sizes == [int(beton.images["data_ptr"][-1] + beton.sizes[-1] - beton.images["data_ptr"][0])]
    with pytest.MonkeyPatch.context() as patch, RecordReader(beton) as reader:
        patch.setattr(bulk_reader, "_STRETCH", 200_000)
        sizes = list(reader.examine(np.arange(COUNT), lambda stretch: stretch.data.nbytes))
        assert 1 < len(sizes) < COUNT and max(sizes) <= 200_000


def test_single_record_is_read(beton: Beton) -> None:
    with RecordReader(beton) as reader:
        assert reader.read(17) == record(beton, 17)


def test_file_cut_while_read_is_refused(beton: Beton, tmp_path: Path) -> None:
    copy = tmp_path / "copy.beton"
    copy.write_bytes(beton.path.read_bytes())
    opened = open_beton(copy)
    os.truncate(copy, int(beton.images["data_ptr"][20]))
    with RecordReader(opened) as reader:
        assert reader.read(19) == record(beton, 19)
        with pytest.raises(UserError, match=r"copy\.beton became shorter while it was read"):
            reader.read(20)
        with pytest.raises(UserError, match=r"copy\.beton became shorter while it was read"):
            list(reader.examine(np.arange(COUNT), contents))


def test_missing_file_is_refused(beton: Beton, tmp_path: Path) -> None:
    copy = tmp_path / "copy.beton"
    copy.write_bytes(beton.path.read_bytes())
    opened = open_beton(copy)
    copy.unlink()
    with pytest.raises(UserError, match=r"cannot open .*copy\.beton: it does not exist"):
        RecordReader(opened)


def test_error_in_the_work_ends_reading(beton: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_reader, "_STRETCH", 1)

    def fail(stretch: Stretch) -> int:
        if 7 in stretch.samples:
            raise ZeroDivisionError
        return len(stretch.samples)

    with RecordReader(beton) as reader:
        found = reader.examine(np.arange(COUNT), fail)
        assert [next(found) for _ in range(7)] == [1] * 7
        with pytest.raises(ZeroDivisionError):
            next(found)


def test_closing_ends_the_threads(beton: Beton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_reader, "_STRETCH", 1)
    before = threading.active_count()
    with RecordReader(beton) as reader, closing(reader.examine(np.arange(COUNT), contents)) as found:
        assert next(found)[0] == [0]
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_memory_is_bounded_for_large_files(tmp_path: Path) -> None:
    # 450 MB read by a process whose memory for data is held at 200 MB more than it has.
    program = (
        "import resource, sys, numpy as np\n"
        "from engine.data.beton.reader import open_beton\n"
        "from engine.data.beton.bulk_reader import RecordReader\n"
        "beton = open_beton(sys.argv[1])\n"
        "before = int(open('/proc/self/statm').read().split()[5]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (before + 200 * 2**20,) * 2)\n"
        "samples = np.tile(np.arange(beton.num_samples), 300)\n"
        "with RecordReader(beton) as reader:\n"
        "    print(sum(reader.examine(samples, lambda stretch: int(stretch.sizes.sum()))))\n"
    )
    path = write_pixels(tmp_path, [photo(500, 500, seed) for seed in range(2)])
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 300 * 2 * 500 * 500 * 3
