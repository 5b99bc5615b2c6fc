"""A disk that fails amid a run is one line that names the place, never a crash: on a real file system that fails."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Loader
from engine.data.native.library import library
from engine.data.sampling.order import cut_pages, page_windows
from engine.errors import UserError
from tests.data import failing_disk
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import CPU, LAW, RESOLUTION, guarded, threads

COUNT = 40
BAD_SAMPLE = 30


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Beton]:
    """A file that opens well, of which the place of one sample's record can't be read."""
    whole = open_beton(write_pixels(tmp_path, [photo(200, 333, seed) for seed in range(COUNT)], "raw"))
    bad = int(whole.images["data_ptr"][BAD_SAMPLE]) + 2**16
    folder = tmp_path / "disk"
    folder.mkdir()
    server = subprocess.Popen(
        [sys.executable, failing_disk.__file__, str(whole.path), str(folder), str(bad)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout and server.stderr
    if server.stdout.readline() != "mounted\n":
        pytest.skip(f"a file system of our own is not possible here: {server.communicate()[1].strip()}")
    try:
        yield open_beton(folder / "file")
    finally:
        # Lazily: the tracebacks of what was expected still hold the map.
        subprocess.run(["umount", "-l", str(folder)], check=True)
        server.kill()
        server.wait()
        server.stdout.close()
        server.stderr.close()


def _sample_and_neighbours(message: str) -> bool:
    # The system reads in pages of its own: the first byte that fails may be a neighbour's.
    return any(f"(sample {sample})" in message for sample in (BAD_SAMPLE - 1, BAD_SAMPLE, BAD_SAMPLE + 1))


@pytest.mark.skipif(library() is None, reason="only the C library can catch a failing read of a memory map")
@pytest.mark.parametrize("decoder", ["cpu", "packed"])
def test_unreadable_record_ends_the_run_with_its_place(failing: Beton, decoder: str) -> None:
    def work() -> None:
        with Loader(failing, device=CPU, workers=2, decoder=decoder, in_memory=True) as loader:
            with pytest.raises(UserError) as caught:
                list(loader.host_batches(np.arange(COUNT).reshape(-1, 4), RESOLUTION, LAW))
            message = str(caught.value)
            assert f"{failing.path} can't be read at byte " in message and "\n" not in message
            assert _sample_and_neighbours(message)

    guarded(work)
    assert threads() == []


def test_samples_outside_the_bad_sectors_are_read(failing: Beton) -> None:
    with Loader(failing, device=CPU, in_memory=False) as loader:
        batches = list(loader.host_batches(np.arange(20).reshape(-1, 4), RESOLUTION, LAW))
    assert len(batches) == 5


def test_unreadable_window_is_one_error_line(failing: Beton) -> None:
    windows = page_windows(
        cut_pages(failing.images["data_ptr"], failing.sizes), window_bytes=2**21, seed=1, epoch=0
    )

    def work() -> None:
        with Loader(failing, device=CPU, in_memory=False) as loader:
            with pytest.raises(
                UserError, match=r"the disk reports a read/write error|can't be read at byte"
            ) as caught:
                list(loader.host_batches(windows.order.reshape(-1, 4), RESOLUTION, LAW, windows))
            assert str(failing.path) in str(caught.value) and "\n" not in str(caught.value)

    guarded(work)
    assert threads() == []
