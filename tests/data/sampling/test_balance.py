"""data.balance: exact shares of the classes in each epoch, and of the samples of a class over the epochs."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.sampling.balance import balanced_order, class_places
from engine.data.sampling.order import MOST_VIEWS, batches_of, samples_of

# Label 2 has no samples. Ids are not those of 0 to n - 1: some are held out.
LABELS = np.repeat([0, 1, 3, 4], [400, 90, 9, 1])
SAMPLES = np.arange(len(LABELS)) * 3 + 1
COUNTS = np.bincount(LABELS)
EPOCHS = 7


def _orders(law: str, epochs: int = EPOCHS) -> list[NDArray[np.int64]]:
    return [balanced_order(SAMPLES, LABELS, law, seed=5, epoch=epoch) for epoch in range(epochs)]


def _labels(views: NDArray[np.int64]) -> NDArray[np.int64]:
    return LABELS[np.searchsorted(SAMPLES, samples_of(views))]


@pytest.mark.parametrize(
    ("law", "places"),
    [
        ("none", [400, 90, 0, 9, 1]),
        # 500 x sqrt(n) / (20 + 9.487 + 3 + 1): 298.6, 141.6, 44.8 and 14.9; the last three are rounded up.
        ("sqrt", [298, 142, 0, 45, 15]),
        ("equal", [125, 125, 0, 125, 125]),
    ],
)
def test_places_follow_the_law_and_fill_an_epoch(law: str, places: list[int]) -> None:
    assert class_places(COUNTS, law).tolist() == places


@pytest.mark.parametrize("law", ["sqrt", "equal"])
@pytest.mark.parametrize("seed", range(5))
def test_places_of_any_counts_are_as_many_and_none_is_lost(law: str, seed: int) -> None:
    counts = (np.random.default_rng(seed).pareto(0.7, 300) * 3).astype(np.int64)
    places = class_places(counts, law)
    assert places.sum() == counts.sum()
    np.testing.assert_array_equal(places > 0, counts > 0)
    if law == "equal":
        assert np.ptp(places[counts > 0]) <= 1


@pytest.mark.parametrize("law", ["none", "sqrt", "equal"])
def test_each_epoch_has_exactly_the_places_of_each_class(law: str) -> None:
    for views in _orders(law):
        np.testing.assert_array_equal(np.bincount(_labels(views), minlength=5), class_places(COUNTS, law))
        assert np.isin(samples_of(views), SAMPLES).all()
        assert len(np.unique(views)) == len(views), "an image used again is another view of it"


@pytest.mark.parametrize("law", ["sqrt", "equal"])
def test_samples_of_a_class_are_used_equally_often_over_epochs(law: str) -> None:
    used = np.zeros(len(SAMPLES), int)
    for views in _orders(law):
        np.add.at(used, np.searchsorted(SAMPLES, samples_of(views)), 1)
        for label in np.unique(LABELS):
            assert np.ptp(used[label == LABELS]) <= 1
    assert used.sum() == EPOCHS * len(SAMPLES)


def test_very_rare_images_have_as_many_views_as_there_are() -> None:
    labels = np.repeat([0, 1], [999, 1])
    views = balanced_order(np.arange(1000), labels, "equal", seed=0, epoch=3)
    rare = views[samples_of(views) == 999]
    assert len(rare) == 500 and len(np.unique(rare)) == MOST_VIEWS


def test_order_is_shuffled_and_another_in_each_epoch_and_seed() -> None:
    first, second = _orders("equal", 2)
    other = balanced_order(SAMPLES, LABELS, "equal", seed=6, epoch=0)
    for one, two in ((first, second), (first, other)):
        assert (samples_of(one) != samples_of(two)).mean() > 0.8
        assert sorted(samples_of(one).tolist()) != sorted(samples_of(two).tolist()), (
            "other images of large classes"
        )
    # Each class is spread over the epoch.
    for label in (0, 1, 3, 4):
        places = np.flatnonzero(_labels(first) == label)
        assert 0.4 < places.mean() / len(first) < 0.6


def test_global_batches_are_the_same_for_any_number_of_ranks() -> None:
    order = _orders("sqrt", 1)[0]
    shapes: list[dict[str, int]] = [{"world": 1, "accumulation": 1}, {"world": 2, "accumulation": 3}]
    cut = [
        np.concatenate(
            [batches_of(order, global_batch=60, rank=rank, **shape) for rank in range(shape["world"])], 2
        )
        for shape in shapes
    ]
    for one, two in zip(*cut, strict=True):
        assert sorted(one.ravel().tolist()) == sorted(two.ravel().tolist())


def test_order_stays_what_it_is() -> None:
    """A run that is resumed by a later version, or on another machine, goes on with the same images."""
    digest = hashlib.sha256(b"".join(views.tobytes() for views in _orders("sqrt"))).hexdigest()
    assert digest[:16] == "168ce7c6bd281093"
