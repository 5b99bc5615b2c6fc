"""Repeated augmentation: each image several times in a batch, timm's choice of images, another crop each time."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from timm.data.distributed_sampler import RepeatAugSampler

from engine.data.sampling.crops import RandomResizedCrop
from engine.data.sampling.order import batches_of, epoch_permutation, repeated, samples_of
from engine.train.augment.augmentation import Draws
from engine.train.augment.mixing import partners

COUNTED, BATCH = 1000, 24
ORDER = epoch_permutation(COUNTED, 3, 1)


def _repeat(views: NDArray[np.int64]) -> NDArray[np.int64]:
    return views >> 56


def _reference(order: list[int], repeats: int, batch: int) -> list[list[tuple[int, int]]]:
    """The (repeat, sample) of each global batch, one by one."""
    views = [(repeat, sample) for sample in order for repeat in range(repeats)]
    batches = [views[start : start + batch] for start in range(0, len(views), batch)]
    whole = batches[: len(order) // batch]
    return [sorted(views, key=lambda view: (view[0], order.index(view[1]))) for views in whole]


@pytest.mark.parametrize("repeats", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("batch", [7, 24])
def test_repeated_batches_match_a_loop(repeats: int, batch: int) -> None:
    order = epoch_permutation(130, 0, 0)
    views = repeated(order, repeats=repeats, global_batch=batch).reshape(-1, batch)
    expected = _reference(order.tolist(), repeats, batch)
    assert len(views) == 130 // batch
    found = [list(zip(_repeat(row).tolist(), samples_of(row).tolist(), strict=True)) for row in views]
    assert found == expected


def test_one_repeat_equals_the_plain_order_to_the_bit() -> None:
    views = repeated(ORDER, repeats=1, global_batch=BATCH)
    assert views.dtype == ORDER.dtype
    np.testing.assert_array_equal(views, ORDER[: COUNTED // BATCH * BATCH])
    np.testing.assert_array_equal(samples_of(ORDER), ORDER)


@pytest.mark.parametrize("repeats", [2, 3, 5])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_repeated_batch_is_the_same_for_any_ranks(repeats: int, world: int) -> None:
    views = repeated(ORDER, repeats=repeats, global_batch=BATCH)
    for accumulation in (1, 2, 3):
        ranks = [
            batches_of(views, global_batch=BATCH, accumulation=accumulation, rank=rank, world=world)
            for rank in range(world)
        ]
        together = np.stack(ranks, axis=2).reshape(-1, BATCH)
        np.testing.assert_array_equal(together, views.reshape(-1, BATCH))
        if world * accumulation >= repeats:
            # No device sees an image twice at once, as with timm on as many GPUs.
            for device_batch in samples_of(np.stack(ranks)).reshape(-1, BATCH // world // accumulation):
                assert len(np.unique(device_batch)) == len(device_batch)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("repeats", [2, 3])
def test_repeated_step_takes_the_images_timm_takes(world: int, repeats: int) -> None:
    count, share = 512, 16 // world
    ranks = [
        list(RepeatAugSampler(range(count), world, rank, shuffle=False, num_repeats=repeats))
        for rank in range(world)
    ]
    ours = samples_of(repeated(np.arange(count), repeats=repeats, global_batch=16)).reshape(-1, 16)
    assert len(ours) == len(ranks[0]) // share == count // 16
    for step, batch in enumerate(ours):
        theirs = [image for rank in ranks for image in rank[step * share : (step + 1) * share]]
        assert sorted(theirs) == sorted(batch.tolist())


def test_repeated_epochs_use_all_images_in_time() -> None:
    used = [
        set(samples_of(repeated(epoch_permutation(COUNTED, 0, epoch), repeats=4, global_batch=50)).tolist())
        for epoch in range(40)
    ]
    assert {len(samples) for samples in used} == {250}
    # A quarter each time: of two epochs' shares a quarter is common to both.
    assert all(30 < len(before & after) < 100 for before, after in pairwise(used))
    assert set.union(*used) == set(range(COUNTED))


@pytest.mark.parametrize("repeats", [2, 3, 8])
@pytest.mark.parametrize("batch", [16, 20, 50])
def test_mixing_partners_are_never_views_of_one_image(repeats: int, batch: int) -> None:
    for views in repeated(ORDER, repeats=repeats, global_batch=batch).reshape(-1, batch):
        samples = samples_of(views)
        assert (samples != samples[partners(batch)]).all()


def test_views_of_one_image_have_independent_draws() -> None:
    samples, crop = np.arange(4000), RandomResizedCrop(seed=1, epoch=2)
    side = np.full(len(samples), 400)
    views = [samples + (repeat << 56) for repeat in range(8)]
    areas = np.stack([crop.boxes(ids, side, side)[:, 2:4].prod(1) for ids in views])
    flips = np.stack([crop.boxes(ids, side, side)[:, 4] for ids in views])
    draws = np.stack([Draws(seed=1, epoch=2, ids=ids).uniform("erasing", 1)[:, 0] for ids in views])
    for drawn in (areas, flips, draws):
        between = np.asarray(np.corrcoef(drawn))[~np.eye(8, dtype=bool)]
        # 1 / sqrt(4000) is 0.016.
        assert np.abs(between).max() < 0.07
