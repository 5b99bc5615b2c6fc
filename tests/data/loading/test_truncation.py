"""A file that shrinks or a disk that fails while it is used: one line that says so, never a crash or a hang."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Loader
from engine.data.native.library import library
from engine.data.sampling.order import cut_pages, page_windows
from engine.errors import UserError
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import CPU, LAW, RESOLUTION, WAYS, guarded, threads

ROOT = Path(__file__).parents[3]
COUNT = 24
IDS = list(np.arange(COUNT).reshape(6, 4))


@pytest.fixture(params=["jpeg", "raw", "yuv420", "raw-packed", "yuv420-packed"])
def shrinking(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Beton, str]:
    """A file of the test's own, and data.decoder."""
    storage, decoder = WAYS[request.param]
    pictures = [photo(160, 200, seed) for seed in range(COUNT)]
    return open_beton(write_pixels(tmp_path, pictures, storage)), decoder


def _half(beton: Beton) -> int:
    """Where the file is cut: amid the records."""
    return int(beton.images["data_ptr"][COUNT // 2]) + 100


def test_file_cut_short_during_an_epoch_is_one_error_line(shrinking: tuple[Beton, str]) -> None:
    beton, decoder = shrinking

    def work() -> None:
        # A host batch is the producer's only slot: while it is held, nothing reads the file.
        with Loader(beton, device=CPU, batches_ahead=0, decoder=decoder, in_memory=False) as loader:
            batches = loader.host_batches(IDS, RESOLUTION, LAW)
            next(batches)
            os.truncate(beton.path, _half(beton))
            with pytest.raises(UserError) as caught:
                list(batches)
            assert f"{beton.path} was cut short while it was in use" in str(caught.value)
            assert f"it has {_half(beton)} bytes and had " in str(caught.value)
            assert "\n" not in str(caught.value)
            with pytest.raises(UserError, match="was cut short while it was in use"):
                next(loader.batches(IDS, RESOLUTION, LAW))

    guarded(work)
    assert threads() == []


@pytest.mark.parametrize("size", [0, 4096, 2**21 + 4096])
def test_file_cut_short_before_opening_is_one_error_line(shrinking: tuple[Beton, str], size: int) -> None:
    beton, decoder = shrinking
    os.truncate(beton.path, size)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match=rf"{beton.path} (is empty now|was cut short)") as caught:
        Loader(beton, device=CPU, decoder=decoder)
    assert "\n" not in str(caught.value)
    # The traceback shows the map.
    del caught
    gc.collect()
    assert threads() == [] and len(os.listdir("/proc/self/fd")) == before


def test_window_beyond_the_end_is_one_error_line(tmp_path: Path) -> None:
    pictures = [photo(200, 333, seed) for seed in range(40)]
    beton = open_beton(write_pixels(tmp_path, pictures, "raw"))
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**21, seed=1, epoch=0)

    def work() -> None:
        with Loader(beton, device=CPU, batches_ahead=0, in_memory=False) as loader:
            batches = loader.host_batches(windows.order.reshape(-1, 4), RESOLUTION, LAW, windows)
            next(batches)
            os.truncate(beton.path, 2**21 + 10_000)
            with pytest.raises(UserError, match=r"(became shorter|was cut short) while it was"):
                list(batches)

    guarded(work)
    assert threads() == []


# Cuts the file short in the very moment in which a record is to be read.
_AMID_A_READ = """
import os, sys
import numpy as np
from engine.data.beton.reader import open_beton
from engine.data.loading import decode_pool as pool
from engine.data.loading.loader import Loader
from engine.errors import UserError
from tests.data.loaders import CPU, LAW, RESOLUTION

beton, decoder = open_beton(sys.argv[1]), sys.argv[2]
ids, verify = np.arange(24).reshape(6, 4), pool.crc32

def cut_and_verify(data):
    os.truncate(beton.path, int(beton.images["data_ptr"][0]))
    return verify(data)

with Loader(beton, device=CPU, workers=2, decoder=decoder, in_memory=False) as loader:
    pool.crc32 = cut_and_verify
    try:
        list(loader.batches(ids, RESOLUTION, LAW))
    except UserError as error:
        print("refused:", error)
"""


@pytest.mark.slow
def test_file_cut_short_while_read_does_not_crash(shrinking: tuple[Beton, str]) -> None:
    if library() is None:
        pytest.skip("without the C library a read beyond the end is the end of the process")
    beton, decoder = shrinking
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _AMID_A_READ, str(beton.path), decoder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"refused: {beton.path} ")
    assert "was cut short" in line
