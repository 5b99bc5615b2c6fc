"""Whatever goes wrong in the loader's threads reaches the consumer, none waits for ever, one iteration at a time."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Loader
from engine.data.sampling.order import cut_pages, page_windows
from engine.errors import UserError
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import CPU, LAW, RESOLUTION, Broken, assert_same, guarded, ids_of, load, threads

Way = tuple[Beton, str]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ZeroDivisionError, ZeroDivisionError),
        (MemoryError, MemoryError),
        (StopIteration, RuntimeError),
        (SystemExit, SystemExit),
        (UserError, UserError),
    ],
)
@pytest.mark.parametrize("way", ["jpeg", "yuv420-packed"], indirect=True)
def test_any_loading_error_reaches_the_consumer(
    way: Way, error: type[BaseException], seen: type[BaseException]
) -> None:
    beton, decoder = way

    def work() -> None:
        taken = 0
        with Loader(beton, device=CPU, workers=2, decoder=decoder) as loader:
            with pytest.raises(seen):
                for _ in loader.batches(ids_of(beton), RESOLUTION, Broken(error()).law):
                    taken += 1
            assert taken == 2
            again = list(loader.batches(ids_of(beton), RESOLUTION, LAW))
            assert_same(again, load(beton, decoder=decoder))

    guarded(work)
    assert threads() == []


def test_memory_error_reaches_the_consumer(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    beton, decoder = way

    def refuse(*size: object, **how: object) -> None:
        raise MemoryError

    def work() -> None:
        with Loader(beton, device=CPU, decoder=decoder) as loader:
            monkeypatch.setattr(torch, "empty", refuse)
            with pytest.raises(MemoryError):
                next(loader.batches(ids_of(beton), RESOLUTION, LAW))

    guarded(work)


def test_id_out_of_range_reaches_the_consumer(way: Way) -> None:
    beton, decoder = way
    for ids in ([0, 48], [-1, 0]):
        with pytest.raises(IndexError, match="samples 0 to 47"):
            load(beton, [np.array(ids)], decoder=decoder)


def test_crop_beyond_the_image_reaches_the_consumer(way: Way) -> None:
    beton, decoder = way

    class Outside(Broken):
        def boxes(self, ids, heights, widths):
            return LAW.boxes(ids, heights, widths) + np.array([0, 0, 0, 1000, 0], np.int32)

    with pytest.raises(ValueError, match="cuts outside the image"):
        load(beton, law=Outside(ValueError()).law, decoder=decoder)


def test_loader_without_a_slot_is_refused(beton: Beton) -> None:
    with pytest.raises(ValueError, match="batches_ahead -1"):
        Loader(beton, device=CPU, batches_ahead=-1)
    assert threads() == []


# One iteration at a time


def test_second_open_iteration_is_refused_without_harm(way: Way) -> None:
    beton, decoder = way
    expected = load(beton, decoder=decoder)
    with Loader(beton, device=CPU, workers=2, decoder=decoder) as loader:
        first = loader.batches(ids_of(beton), RESOLUTION, LAW)
        taken = [next(first)]
        with pytest.raises(RuntimeError, match="still open"):
            next(loader.batches(ids_of(beton), 64, LAW))
        taken.extend(first)
        assert_same(taken, expected)
        assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), expected)


def test_dropped_iterator_ends_its_producer(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        batches = loader.batches(ids_of(beton, 2), RESOLUTION, LAW)
        next(batches)
        assert "producer" in threads()
        del batches
        gc.collect()
        assert "producer" not in threads()
        assert len(list(loader.batches(ids_of(beton), RESOLUTION, LAW))) == len(ids_of(beton))


def test_unstarted_iterator_holds_nothing(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        unused = loader.batches(ids_of(beton), RESOLUTION, LAW)
        assert threads() == []
        assert len(list(loader.batches(ids_of(beton), RESOLUTION, LAW))) == len(ids_of(beton))
        del unused


def test_consumer_error_ends_the_producer(beton: Beton) -> None:
    with Loader(beton, device=CPU, in_memory=False) as loader:
        with pytest.raises(KeyError):
            for _ in loader.batches(ids_of(beton), RESOLUTION, LAW):
                raise KeyError
        gc.collect()
        assert "producer" not in threads()
        next(iter(loader.batches(ids_of(beton), RESOLUTION, LAW)))


def test_closing_during_an_iteration_ends_threads_and_consumer(way: Way) -> None:
    beton, decoder = way

    def work() -> None:
        loader = Loader(beton, device=CPU, workers=2, batches_ahead=1, decoder=decoder)
        batches = loader.batches(ids_of(beton, 4), RESOLUTION, LAW)
        next(batches)
        loader.close()
        assert threads() == []
        with pytest.raises(RuntimeError, match="closed amid an iteration"):
            list(batches)
        with pytest.raises(RuntimeError, match="the loader is closed"):
            next(loader.batches(ids_of(beton), RESOLUTION, LAW))
        loader.close()

    guarded(work)


def test_closing_during_a_window_ends_all_threads(tmp_path: Path) -> None:
    beton = open_beton(write_pixels(tmp_path, [photo(200, 333, seed) for seed in range(40)], "raw"))
    windows = page_windows(
        cut_pages(beton.images["data_ptr"], beton.sizes), window_bytes=2**21, seed=1, epoch=0
    )

    def work() -> None:
        loader = Loader(beton, device=CPU, workers=2, batches_ahead=1)
        batches = loader.batches(windows.order.reshape(-1, 4), RESOLUTION, LAW, windows)
        next(batches)
        loader.close()
        assert threads() == []
        with pytest.raises(RuntimeError, match="closed"):
            list(batches)

    guarded(work)


def test_batches_beyond_memory_are_refused(way: Way) -> None:
    beton, _ = way
    with Loader(beton, device=CPU, decoder="cpu") as loader:
        # One number seen again and again: it takes no memory.
        many = np.broadcast_to(np.int64(0), 2**31)
        with pytest.raises(UserError, match=r"2,147,483,648 images at \d+ px take .* GB are free: lower"):
            next(loader.batches([many], RESOLUTION, LAW))
        assert_same(list(loader.batches(ids_of(beton), RESOLUTION, LAW)), load(beton, decoder="cpu"))
