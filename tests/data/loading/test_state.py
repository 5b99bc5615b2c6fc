"""An iteration goes on where it was left: the same batches to the bit, and nothing before them is decoded again."""

from typing import Any

import numpy as np
import pytest

from engine.data.beton.reader import Beton, open_beton
from engine.data.loading.loader import Loader
from engine.data.sampling.order import Windows, batches_of, cut_pages, page_windows
from tests.data.betons import write_pixels
from tests.data.conftest import photo
from tests.data.loaders import CPU, LAW, RESOLUTION, Spy, assert_same, ids_of, load

Way = tuple[Beton, str]


@pytest.mark.parametrize("way", ["jpeg", "yuv420", "yuv420-packed"], indirect=True)
def test_restored_state_gives_the_same_rest_from_any_batch(way: Way) -> None:
    beton, decoder = way
    ids, expected = ids_of(beton), load(beton, decoder=decoder)
    for done in (0, 1, 2, len(ids) - 1, len(ids)):
        with Loader(beton, device=CPU, workers=2, decoder=decoder) as first:
            batches = first.batches(ids, RESOLUTION, LAW)
            assert_same([next(batches) for _ in range(done)], expected[:done])
            state = first.state_dict()
        spy = Spy()
        with Loader(beton, device=CPU, workers=2, decoder=decoder) as second:
            second.load_state_dict(state)
            assert_same(list(second.batches(ids, RESOLUTION, spy.law)), expected[done:])
            assert spy.seen == [int(sample) for batch in ids[done:] for sample in batch]
            assert second.state_dict() == {"batches": len(ids)}
            assert_same(list(second.batches(ids, RESOLUTION, LAW)), expected)


def test_state_can_be_taken_after_the_end_or_a_break(beton: Beton) -> None:
    with Loader(beton, device=CPU) as loader:
        assert loader.state_dict() == {"batches": 0}
        list(loader.batches(ids_of(beton), RESOLUTION, LAW))
        assert loader.state_dict() == {"batches": len(ids_of(beton))}
        for taken, _ in enumerate(loader.batches(ids_of(beton), RESOLUTION, LAW)):
            if taken == 1:
                break
        assert loader.state_dict() == {"batches": 2}


def test_state_of_a_restored_loader_restores_again(beton: Beton) -> None:
    ids, expected = ids_of(beton), load(beton)
    with Loader(beton, device=CPU) as loader:
        loader.load_state_dict({"batches": 1})
        batches = loader.batches(ids, RESOLUTION, LAW)
        assert_same([next(batches), next(batches)], expected[1:3])
        assert loader.state_dict() == {"batches": 3}
        batches.close()
        loader.load_state_dict(loader.state_dict())
        assert_same(list(loader.batches(ids, RESOLUTION, LAW)), expected[3:])


@pytest.mark.parametrize("batches", [-1, 5])
def test_state_beyond_the_batches_is_refused(beton: Beton, batches: int) -> None:
    with Loader(beton, device=CPU) as loader:
        loader.load_state_dict({"batches": batches})
        with pytest.raises(ValueError, match=f"batch {batches} of 4 can't be the first one"):
            next(loader.batches(ids_of(beton), RESOLUTION, LAW))


# In page-wise order


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """A file of 8 MB of raw images."""
    folder = tmp_path_factory.mktemp("large")
    return open_beton(write_pixels(folder, [photo(200, 333, seed) for seed in range(40)], "raw"))


def _windows(beton: Beton) -> Windows:
    pages = cut_pages(beton.images["data_ptr"], beton.sizes)
    windows = page_windows(pages, window_bytes=3 * 2**20, seed=1, epoch=0)
    assert len(windows.spans) > 3
    return windows


def _ids(windows: Windows) -> list[Any]:
    return list(batches_of(windows.order, global_batch=4, accumulation=1, rank=0, world=1)[:, 0])


@pytest.mark.parametrize("decoder", ["cpu", "packed"])
def test_page_windows_give_the_same_batches(large: Beton, decoder: str) -> None:
    windows = _windows(large)
    ids = _ids(windows)
    expected = load(large, ids, decoder=decoder)
    assert sorted(np.concatenate([batch.ids for batch in expected]).tolist()) == list(range(40))
    with Loader(large, device=CPU, workers=2, decoder=decoder, in_memory=False) as loader:
        for _ in range(2):
            assert_same(list(loader.batches(ids, RESOLUTION, LAW, windows)), expected)


def test_page_order_resumes_at_any_batch(large: Beton) -> None:
    windows = _windows(large)
    ids, expected = _ids(windows), load(large, _ids(windows))
    with Loader(large, device=CPU, workers=2, in_memory=False) as loader:
        for done in (0, 1, len(ids) // 2, len(ids) - 1, len(ids)):
            spy = Spy()
            loader.load_state_dict({"batches": done})
            assert_same(list(loader.batches(ids, RESOLUTION, spy.law, windows)), expected[done:])
            assert spy.seen == [int(sample) for batch in ids[done:] for sample in batch]


def test_page_order_can_be_left_early_and_restarted(large: Beton) -> None:
    windows = _windows(large)
    ids, expected = _ids(windows), load(large, _ids(windows))
    with Loader(large, device=CPU, workers=2, in_memory=False) as loader:
        for stop in (0, 3, 6):
            for taken, batch in enumerate(loader.batches(ids, RESOLUTION, LAW, windows)):
                assert_same([batch], expected[taken : taken + 1])
                if taken == stop:
                    break
