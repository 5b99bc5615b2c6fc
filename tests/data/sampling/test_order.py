"""Every epoch uses each sample at most once, in global batches that no number of ranks or workers can change."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.sampling.order import (
    PAGE_BYTES,
    Windows,
    batches_of,
    cut_pages,
    epoch_permutation,
    in_parts,
    page_windows,
    part_numbers,
    repeated,
    samples_of,
    train_batches,
    validation_batches,
)
from tests.data.splitmix import GOLDEN, MASK, mix

FIRST_ORDER = [3, 1, 8, 2, 10, 9, 0, 4, 5, 6, 7, 11]
IMAGENET_ORDER_SHA256 = "cc112a067fa574feae06830bff6b1bd1640ecff2d3cc2df94b2bfbd21c7f5cc0"


def _epoch(num_samples: int, world: int, accumulation: int, **fixed: int) -> np.ndarray:
    """All ranks' ids of an epoch, shape (steps, accumulation, world, device batch)."""
    ranks = [
        train_batches(num_samples, accumulation=accumulation, rank=rank, world=world, **fixed)
        for rank in range(world)
    ]
    return np.stack(ranks, axis=2)


def _keys(count: int, seed: int, epoch: int, stream: bytes) -> list[int]:
    """The keys that the order sorts, on Python's own integers."""
    key = mix(mix((seed + GOLDEN) & MASK) + (epoch + 1) * GOLDEN)
    key = mix(key ^ int.from_bytes(stream, "big"))
    return [mix(key + (number + 1) * GOLDEN) for number in range(count)]


def test_order_is_the_sort_of_counter_based_keys() -> None:
    seed, epoch, count = 3, 5, 300
    keys = _keys(count, seed, epoch, b"order")
    assert epoch_permutation(count, seed, epoch).tolist() == sorted(range(count), key=keys.__getitem__)


def test_order_matches_a_recorded_one() -> None:
    assert epoch_permutation(12, 0, 0).tolist() == FIRST_ORDER
    long = epoch_permutation(1_281_167, seed=2**31 - 1, epoch=89)
    assert long.dtype == np.int64
    assert hashlib.sha256(long.astype("<i8").tobytes()).hexdigest() == IMAGENET_ORDER_SHA256


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_epoch_is_a_permutation(count: int) -> None:
    assert sorted(epoch_permutation(count, 0, 0)) == list(range(count))


def test_epochs_and_seeds_give_different_orders() -> None:
    orders = [epoch_permutation(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for first in range(len(orders)):
        for second in range(first):
            assert (orders[first] == orders[second]).mean() < 0.01
            assert abs(np.corrcoef(orders[first], orders[second])[0, 1]) < 0.15
    # Seed and epoch are not interchangeable.
    assert (epoch_permutation(1000, 1, 2) != epoch_permutation(1000, 2, 1)).mean() > 0.9


def test_every_part_of_an_epoch_covers_the_whole_file() -> None:
    places = np.stack([np.argsort(epoch_permutation(16, 7, epoch)) for epoch in range(2000)])
    counts = np.stack([np.bincount(column, minlength=16) for column in places.T])
    # 125 expected in each cell of a 16 x 16 table; chi-squared with 225 degrees of freedom.
    assert 150 < ((counts - 125) ** 2 / 125).sum() < 320


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_together_take_each_sample_once(world: int) -> None:
    used = _epoch(1000, world, 1, seed=1, epoch=2, global_batch=48).ravel()
    assert len(used) == 1000 // 48 * 48 and len(set(used)) == len(used)
    assert set(used) == set(epoch_permutation(1000, 1, 2)[: len(used)])


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_global_batch_is_the_same_for_any_ranks_and_accumulation(world: int, accumulation: int) -> None:
    fixed = {"seed": 4, "epoch": 1, "global_batch": 24}
    ours = _epoch(500, world, accumulation, **fixed)
    assert ours.shape == (20, accumulation, world, 24 // accumulation // world)
    alone = _epoch(500, 1, 1, **fixed).reshape(20, 24)
    # Not only the same set: the same order, laid out over (accumulation, rank, position).
    np.testing.assert_array_equal(ours.reshape(20, 24), alone)


def test_rest_of_an_epoch_is_left_out_and_differs_each_time() -> None:
    rests = [
        set(range(103)) - set(_epoch(103, 1, 1, seed=0, epoch=epoch, global_batch=10).ravel())
        for epoch in range(20)
    ]
    assert all(len(rest) == 3 for rest in rests)
    assert len(set.union(*rests)) > 30


@pytest.mark.parametrize(
    ("global_batch", "accumulation", "rank", "world"),
    [
        (10, 1, 0, 3),
        (10, 3, 0, 1),
        (0, 1, 0, 1),
        (-4, 1, 0, 1),
        (101, 1, 0, 1),
        (8, 1, 2, 2),
        (8, 1, -1, 2),
        (8, 0, 0, 1),
    ],
)
def test_batch_that_does_not_divide_is_refused(
    global_batch: int, accumulation: int, rank: int, world: int
) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        train_batches(
            100, seed=0, epoch=0, global_batch=global_batch, accumulation=accumulation, rank=rank, world=world
        )


# Page-wise order

Records = tuple[NDArray[np.uint64], NDArray[np.uint64]]


def _records(count: int, mean_bytes: int = 130_000, shuffled: bool = False) -> Records:
    """Pointers and sizes as a writer lays them; `shuffled`: as several writers at once do, ffcv's for example."""
    random = np.random.default_rng(count)
    sizes = random.integers(mean_bytes // 2, mean_bytes * 3 // 2, count).astype(np.uint64)
    places = random.permutation(count) if shuffled else np.arange(count)
    pointers = np.empty(count, np.uint64)
    pointers[places] = 2**23 + np.concatenate([[0], np.cumsum(sizes[places])[:-1]])
    return pointers, sizes


def _windows(records: Records, window_bytes: int = 20 * PAGE_BYTES, seed: int = 0, epoch: int = 0) -> Windows:
    return page_windows(cut_pages(*records), window_bytes=window_bytes, seed=seed, epoch=epoch)


@pytest.mark.parametrize("shuffled", [False, True])
def test_pages_hold_every_record_once(shuffled: bool) -> None:
    pointers, sizes = _records(3000, shuffled=shuffled)
    pages = cut_pages(pointers, sizes)
    assert sorted(pages.samples) == list(range(3000))
    assert (np.diff(pointers[pages.samples].astype(np.int64)) > 0).all()
    assert pages.starts[0] == 0 and pages.starts[-1] == 3000 and (np.diff(pages.starts) > 0).all()
    for (start, stop), (first, behind) in zip(pairwise(pages.starts), pages.spans, strict=True):
        inside = pages.samples[start:stop]
        assert first == pointers[inside].min() and behind == (pointers + sizes)[inside].max()
        assert len(np.unique(pointers[inside] // np.uint64(PAGE_BYTES))) == 1
    lengths = pages.spans[:, 1] - pages.spans[:, 0]
    assert 0.8 * PAGE_BYTES < lengths.mean() < 1.2 * PAGE_BYTES


@pytest.mark.parametrize(("mean_bytes", "pages"), [(100, 1), (PAGE_BYTES * 3, 300)])
def test_small_records_share_a_page_and_large_ones_do_not(mean_bytes: int, pages: int) -> None:
    assert len(cut_pages(*_records(300, mean_bytes)).spans) == pages


@pytest.mark.parametrize("count", [1, 2, 3000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_page_order_is_a_permutation(count: int, shuffled: bool) -> None:
    assert sorted(_windows(_records(count, shuffled=shuffled)).order) == list(range(count))


@pytest.mark.parametrize("shuffled", [False, True])
def test_samples_of_a_window_come_only_from_its_pages(shuffled: bool) -> None:
    pointers, sizes = _records(3000, shuffled=shuffled)
    windows = _windows((pointers, sizes))
    assert len(windows.spans) == len(windows.starts) - 1 == 20
    seen: list[tuple[int, ...]] = []
    for (start, stop), spans in zip(pairwise(windows.starts), windows.spans, strict=True):
        assert (spans[1:, 0] >= spans[:-1, 1]).all(), "in file order, no byte twice"
        inside = windows.order[start:stop]
        span = np.searchsorted(spans[:, 0], pointers[inside].astype(np.int64), side="right") - 1
        assert ((pointers + sizes)[inside] <= spans[span, 1].astype(np.uint64)).all()
        seen.extend(map(tuple, spans))
    assert len(set(seen)) == len(seen) == len(cut_pages(pointers, sizes).spans)


@pytest.mark.parametrize("window_pages", [5, 20, 100, 10_000])
def test_windows_have_equal_size_within_the_limit(window_pages: int) -> None:
    windows = _windows(_records(3000), window_pages * PAGE_BYTES)
    bytes_held = np.array([int((spans[:, 1] - spans[:, 0]).sum()) for spans in windows.spans])
    assert bytes_held.max() <= window_pages * PAGE_BYTES
    # Also the last one: a small rest would be a stretch of few pages, and so of few classes.
    assert bytes_held.max() - bytes_held.min() < 2.5 * PAGE_BYTES


def test_window_smaller_than_two_pages_takes_whole_pages() -> None:
    windows = _windows(_records(300), window_bytes=1)
    assert all(len(spans) >= 1 for spans in windows.spans)
    assert sorted(windows.order) == list(range(300))


def test_page_order_mixes_samples_and_pages() -> None:
    pointers, sizes = _records(20_000)
    windows = _windows((pointers, sizes), 400 * PAGE_BYTES)
    page = (pointers // np.uint64(PAGE_BYTES)).astype(np.int64)
    for start, stop in pairwise(windows.starts):
        inside = windows.order[start:stop]
        assert abs(np.corrcoef(inside, np.arange(start, stop))[0, 1]) < 0.1
        # Neighbours are as seldom from one page as chance has it: of some 400 pages, 1 in 400.
        assert (np.diff(page[inside]) == 0).mean() < 0.01
    middles = [windows.order[start:stop].mean() for start, stop in pairwise(windows.starts)]
    assert np.std(middles) < 0.15 * 20_000, "every window takes pages from all over the file"


def test_class_sorted_file_gives_batches_of_many_classes() -> None:
    """As ImageNet in YUV 4:2:0 at a tenth of its size: 128,117 records of 130 kB in the order of 1,000 classes."""
    count, batch = 128_117, 1024
    labels = np.arange(count) * 1000 // count
    windows = _windows(_records(count), 2**31)
    found = [len(np.unique(labels[windows.order[at : at + batch]])) for at in range(0, count - batch, batch)]
    # Fully random batches have 641 of 1,000 classes.
    assert min(found) > 480


def test_page_order_differs_between_epochs_and_seeds() -> None:
    records = _records(3000)
    ways = [_windows(records, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for first in range(len(ways)):
        for second in range(first):
            assert (ways[first].order == ways[second].order).mean() < 0.01
            # Not the same windows in another order either.
            shared = set(ways[first].order[: ways[first].starts[1]])
            shared &= set(ways[second].order[: ways[second].starts[1]])
            assert len(shared) < 0.3 * ways[first].starts[1]


def test_page_order_is_the_sort_of_counter_based_keys() -> None:
    seed, epoch, per_page, per_window = 3, 5, 4, 10
    # 100 pages of 4 records each, and windows that hold 10 of them (11 less the one that may be too many).
    sizes = np.full(400, PAGE_BYTES // per_page, np.uint64)
    windows = _windows((np.cumsum(sizes) - sizes, sizes), 11 * PAGE_BYTES, seed, epoch)
    page_keys, sample_keys = _keys(100, seed, epoch, b"pages"), _keys(400, seed, epoch, b"order")
    pages, expected = sorted(range(100), key=page_keys.__getitem__), []
    for first in range(0, 100, per_window):
        inside = [
            per_page * page + at for page in pages[first : first + per_window] for at in range(per_page)
        ]
        expected += sorted(inside, key=sample_keys.__getitem__)
    assert windows.order.tolist() == expected
    assert windows.starts.tolist() == list(range(0, 401, per_page * per_window))


PAGE_ORDER_SHA256 = "8bc9488aa19e1084292e78f84a960be87a90030c33ff758c07cd0937fcdb0502"


def test_page_order_matches_a_recorded_one() -> None:
    # Whole numbers by a rule, since a generator's stream is NumPy's own.
    numbers = np.arange(200_000, dtype=np.uint64)
    sizes = 60_000 + numbers * np.uint64(7919) % np.uint64(140_000)
    pointers = 2**23 + np.cumsum(sizes) - sizes
    windows = page_windows(cut_pages(pointers, sizes), window_bytes=2**31, seed=2**31 - 1, epoch=89)
    assert windows.order.dtype == windows.starts.dtype == np.int64
    assert hashlib.sha256(windows.order.astype("<i8").tobytes()).hexdigest() == PAGE_ORDER_SHA256


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_page_order_ranks_take_each_sample_once(world: int, accumulation: int) -> None:
    order, batch = _windows(_records(3000)).order, 48
    ranks = [
        batches_of(order, global_batch=batch, accumulation=accumulation, rank=rank, world=world)
        for rank in range(world)
    ]
    steps = 3000 // batch
    together = np.stack(ranks, axis=2)
    assert together.shape == (steps, accumulation, world, batch // accumulation // world)
    np.testing.assert_array_equal(
        together.reshape(steps, batch), order[: steps * batch].reshape(steps, batch)
    )


# Validation


@pytest.mark.parametrize("count", [0, 1, 5, 37, 50_000])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 7, 512])
def test_validation_takes_every_sample_once_on_any_ranks(count: int, world: int, batch: int) -> None:
    shares = [validation_batches(count, batch=batch, rank=rank, world=world) for rank in range(world)]
    batches = [ids for share in shares for ids in share]
    assert np.concatenate([*batches, np.empty(0, np.int64)]).tolist() == list(range(count))
    assert all(0 < len(ids) <= batch and ids.dtype == np.int64 for ids in batches)
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("batch", "rank", "world"), [(0, 0, 1), (-1, 0, 1), (8, 2, 2), (8, -1, 2), (8, 0, 0)]
)
def test_rank_out_of_range_is_refused(batch: int, rank: int, world: int) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        validation_batches(100, batch=batch, rank=rank, world=world)


# In parts


def test_parts_are_even_random_and_without_those_held() -> None:
    held = np.arange(0, 1000, 10)
    numbers = part_numbers(1000, held, parts=7, seed=3)
    assert (numbers[held] == -1).all() and (numbers >= -1).all()
    counts = np.bincount(numbers[numbers >= 0])
    assert counts.sum() == 900 and counts.max() - counts.min() <= 1
    # In a file that is sorted by class, each part has some of each class.
    assert all(len(set(numbers[start : start + 100])) == 8 for start in range(0, 1000, 100))
    np.testing.assert_array_equal(numbers, part_numbers(1000, held, parts=7, seed=3))
    assert (numbers != part_numbers(1000, held, parts=7, seed=4)).any()


@pytest.mark.parametrize("repeats", [1, 3])
def test_one_part_is_the_ordinary_order(repeats: int) -> None:
    order, numbers = epoch_permutation(100, 0, 0), np.zeros(100, np.int64)
    found = in_parts(order, numbers, parts=1, repeats=repeats, global_batch=12, accumulation=2)
    np.testing.assert_array_equal(found, repeated(order, repeats=repeats, global_batch=12))


@pytest.mark.parametrize("count", [96, 101, 107])
@pytest.mark.parametrize(("accumulation", "repeats"), [(1, 1), (2, 1), (2, 3)])
def test_each_rank_draws_from_its_own_part(count: int, accumulation: int, repeats: int) -> None:
    numbers = part_numbers(count, np.empty(0, np.int64), parts=4, seed=1)
    views = [
        in_parts(
            epoch_permutation(count, 1, epoch),
            numbers,
            parts=4,
            repeats=repeats,
            global_batch=24,
            accumulation=accumulation,
        )
        for epoch in range(2)
    ]
    assert not np.array_equal(views[0], views[1])
    assert [len(one) for one in views] == [96, 96]
    assert len(set(views[0].tolist())) == 96, "each view once"
    for rank in range(4):
        own = batches_of(views[0], global_batch=24, accumulation=accumulation, rank=rank, world=4)
        assert own.shape == (4, accumulation, 6 // accumulation)
        assert (numbers[samples_of(own)] == rank).all()


def test_global_batches_in_parts_are_alike_on_any_number_of_ranks() -> None:
    """A run that draws in 2 parts goes on with 3 ranks, or accumulates 4 times, over the same global batches."""
    order, numbers = epoch_permutation(100, 1, 0), part_numbers(100, np.empty(0, np.int64), parts=2, seed=1)
    two, others = (
        in_parts(order, numbers, parts=2, repeats=1, global_batch=12, accumulation=accumulation)
        for accumulation in (1, 4)
    )
    for one, other in zip(two.reshape(-1, 12), others.reshape(-1, 12), strict=True):
        assert sorted(one.tolist()) == sorted(other.tolist())
