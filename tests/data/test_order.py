"""Every epoch uses each sample at most once, in global batches that no number of ranks or workers can change."""

import hashlib

import numpy as np
import pytest

from engine.data.order import epoch_permutation, train_batches, validation_batches
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


def test_the_order_is_the_sort_of_counter_based_keys() -> None:
    seed, epoch, count = 3, 5, 300
    key = mix(mix((seed + GOLDEN) & MASK) + (epoch + 1) * GOLDEN)
    key = mix(key ^ int.from_bytes(b"order", "big"))
    keys = [mix(key + (sample + 1) * GOLDEN) for sample in range(count)]
    assert epoch_permutation(count, seed, epoch).tolist() == sorted(range(count), key=keys.__getitem__)


def test_another_machine_and_numpy_give_the_same_order() -> None:
    assert epoch_permutation(12, 0, 0).tolist() == FIRST_ORDER
    long = epoch_permutation(1_281_167, seed=2**31 - 1, epoch=89)
    assert long.dtype == np.int64
    assert hashlib.sha256(long.astype("<i8").tobytes()).hexdigest() == IMAGENET_ORDER_SHA256


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_an_epoch_is_a_permutation(count: int) -> None:
    assert sorted(epoch_permutation(count, 0, 0)) == list(range(count))


def test_epochs_and_seeds_differ_and_samples_wander() -> None:
    orders = [epoch_permutation(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for first in range(len(orders)):
        for second in range(first):
            assert (orders[first] == orders[second]).mean() < 0.01
            assert abs(np.corrcoef(orders[first], orders[second])[0, 1]) < 0.15
    # Seed and epoch are not interchangeable.
    assert (epoch_permutation(1000, 1, 2) != epoch_permutation(1000, 2, 1)).mean() > 0.9


def test_every_place_of_the_epoch_sees_every_part_of_the_data() -> None:
    places = np.stack([np.argsort(epoch_permutation(16, 7, epoch)) for epoch in range(2000)])
    counts = np.stack([np.bincount(column, minlength=16) for column in places.T])
    # 125 expected in each cell of a 16 x 16 table; chi-squared with 225 degrees of freedom.
    assert 150 < ((counts - 125) ** 2 / 125).sum() < 320


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_ranks_together_take_each_sample_once(world: int) -> None:
    used = _epoch(1000, world, 1, seed=1, epoch=2, global_batch=48).ravel()
    assert len(used) == 1000 // 48 * 48 and len(set(used)) == len(used)
    assert set(used) == set(epoch_permutation(1000, 1, 2)[: len(used)])


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_a_global_batch_is_the_same_set_for_any_ranks_and_accumulation(world: int, accumulation: int) -> None:
    fixed = {"seed": 4, "epoch": 1, "global_batch": 24}
    ours = _epoch(500, world, accumulation, **fixed)
    assert ours.shape == (20, accumulation, world, 24 // accumulation // world)
    alone = _epoch(500, 1, 1, **fixed).reshape(20, 24)
    # Not only the same set: the same order, laid out over (accumulation, rank, position).
    np.testing.assert_array_equal(ours.reshape(20, 24), alone)


def test_what_does_not_fill_a_batch_is_left_out_and_is_another_rest_each_epoch() -> None:
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
def test_what_cannot_be_laid_out_is_refused(
    global_batch: int, accumulation: int, rank: int, world: int
) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        train_batches(
            100, seed=0, epoch=0, global_batch=global_batch, accumulation=accumulation, rank=rank, world=world
        )


@pytest.mark.parametrize("count", [0, 1, 5, 37, 50_000])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 7, 512])
def test_validation_takes_every_sample_once_also_with_fewer_samples_than_ranks(
    count: int, world: int, batch: int
) -> None:
    shares = [validation_batches(count, batch=batch, rank=rank, world=world) for rank in range(world)]
    batches = [ids for share in shares for ids in share]
    assert np.concatenate([*batches, np.empty(0, np.int64)]).tolist() == list(range(count))
    assert all(0 < len(ids) <= batch and ids.dtype == np.int64 for ids in batches)
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("batch", "rank", "world"), [(0, 0, 1), (-1, 0, 1), (8, 2, 2), (8, -1, 2), (8, 0, 0)]
)
def test_a_share_that_does_not_exist_is_refused(batch: int, rank: int, world: int) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        validation_batches(100, batch=batch, rank=rank, world=world)
