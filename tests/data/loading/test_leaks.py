"""Hundreds of early breaks, dropped iterators and closed loaders leave threads, descriptors and memory as they were."""

import gc
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.data.beton.reader import Beton
from engine.data.loading.loader import Loader
from engine.data.sampling.order import cut_pages, page_windows
from tests.data.loaders import CPU, LAW, RESOLUTION, Broken, ids_of, threads

Way = tuple[Beton, str]

BREAKS = 200
# The first ones warm allocators and thread stacks up.
WARM = 50


def _figures() -> tuple[int, int, int]:
    """Threads, descriptors and bytes of memory of this process."""
    gc.collect()
    process = psutil.Process()
    return threading.active_count(), process.num_fds(), process.memory_info().rss


def _assert_flat(before: tuple[int, int, int], after: tuple[int, int, int], most: int) -> None:
    assert after[:2] == before[:2]
    assert after[2] - before[2] < most


@pytest.mark.parametrize("dropped", [False, True], ids=["closed", "dropped"])
@pytest.mark.parametrize("way", ["jpeg", "yuv420-packed"], indirect=True)
def test_200_early_breaks_leak_nothing(way: Way, dropped: bool) -> None:
    beton, decoder = way
    with Loader(beton, device=CPU, workers=2, batches_ahead=2, decoder=decoder) as loader:
        for number in range(WARM + BREAKS):
            if number == WARM:
                before = _figures()
            iterator = loader.host_batches(ids_of(beton, 24) * 4, 160, LAW)
            next(iterator)
            if dropped:
                del iterator
            else:
                iterator.close()
        # One set of decoded slots is 5.5 MB: had each break kept its own, 1.1 GB.
        _assert_flat(before, _figures(), 20 * 2**20)


def test_early_breaks_of_finished_batches_leak_nothing(way: Way) -> None:
    beton, decoder = way
    with Loader(beton, device=CPU, workers=2, batches_ahead=2, decoder=decoder) as loader:
        for number in range(40):
            if number == 10:
                before = _figures()
            for batch in loader.batches(ids_of(beton, 8), 96, LAW):
                del batch
                break
        _assert_flat(before, _figures(), 20 * 2**20)


@pytest.mark.parametrize("way", ["jpeg", "yuv420-packed"], indirect=True)
def test_closed_loaders_leak_nothing(way: Way) -> None:
    beton, decoder = way
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=2**21, seed=1, epoch=0)
    for number in range(23):
        if number == 3:
            before = _figures()
        with Loader(beton, device=CPU, workers=3, decoder=decoder) as loader:
            list(loader.host_batches(ids_of(beton), RESOLUTION, LAW))
            next(loader.host_batches(windows.order.reshape(-1, 8), RESOLUTION, LAW, windows))
        with (
            Loader(beton, device=CPU, workers=3, decoder=decoder) as loader,
            pytest.raises(ZeroDivisionError),
        ):
            list(loader.host_batches(ids_of(beton), RESOLUTION, Broken(ZeroDivisionError()).law))
    _assert_flat(before, _figures(), 20 * 2**20)
    assert threads() == []


def test_closed_loader_is_freed(way: Way) -> None:
    beton, decoder = way
    loader = Loader(beton, device=CPU, decoder=decoder)
    list(loader.batches([np.arange(4)], RESOLUTION, LAW))
    loader.close()
    dead = weakref.ref(loader)
    del loader
    gc.collect()
    assert dead() is None
    assert str(beton.path) not in Path("/proc/self/maps").read_text(), "nor is its map left"


def test_iterator_that_outlives_its_loader_holds_no_thread(way: Way) -> None:
    beton, decoder = way
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    loader = Loader(beton, device=CPU, workers=2, decoder=decoder, in_memory=False)
    iterator = loader.host_batches(ids_of(beton, 4), RESOLUTION, LAW)
    next(iterator)
    loader.close()
    assert threads() == []
    del loader, iterator
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
