"""Permutations are found in confusion tables made by a network that errs, and are not found where there are none."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.audit.labels.permutation import best_assignment, find_permutation, order_hint, unsure_labels


def seen(
    labels: NDArray[np.int64], classes: int, accuracy: float, seed: int = 0, twins: int = 0
) -> NDArray[np.int64]:
    """Predictions of a network that is right with this probability; it can't tell the first 2 x twins apart in twos."""
    random = np.random.default_rng(seed)
    right = random.random(len(labels)) < accuracy
    predicted = np.where(right, labels, random.integers(0, classes, len(labels)))
    paired = predicted < 2 * twins
    swapped = predicted ^ random.integers(0, 2, len(labels))
    return np.where(paired, swapped, predicted)


SQUARES = st.integers(1, 5).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 9), min_size=size, max_size=size), min_size=size, max_size=size
    )
)


@settings(max_examples=60, deadline=None)
@given(SQUARES)
def test_best_assignment_matches_brute_force(table: list[list[int]]) -> None:
    gains = np.array(table)
    rows = np.arange(len(gains))
    best = best_assignment(gains)
    assert sorted(best) == list(rows)
    assert gains[rows, best].sum() == max(gains[rows, list(columns)].sum() for columns in permutations(rows))


def test_equal_assignments_prefer_the_diagonal() -> None:
    assert best_assignment(np.zeros((5, 5), np.int64)).tolist() == [0, 1, 2, 3, 4]
    assert best_assignment(np.ones((4, 4), np.int64)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("classes", "per_class", "accuracy"), [(10, 100, 0.5), (1000, 50, 0.7), (1000, 50, 0.3)]
)
def test_permutation_of_all_classes_is_found(classes: int, per_class: int, accuracy: float) -> None:
    true = np.repeat(np.arange(classes), per_class)
    meaning = np.random.default_rng(3).permutation(classes)
    labels = np.argsort(meaning)[true]
    found = find_permutation(labels, seen(true, classes, accuracy), classes)
    assert found.meaning.tolist() == meaning.tolist()
    assert found.before < 0.02 + 1.5 / classes
    assert found.after == pytest.approx(accuracy + (1 - accuracy) / classes, abs=0.03)
    assert (
        sorted(label for cycle in found.cycles for label in cycle)
        == np.flatnonzero(meaning != np.arange(classes)).tolist()
    )
    for cycle in found.cycles:
        assert [int(meaning[label]) for label in cycle] == [*cycle[1:], cycle[0]]


def test_two_swapped_classes_of_a_thousand_are_named() -> None:
    true = np.repeat(np.arange(1000), 50)
    labels = true.copy()
    labels[true == 17], labels[true == 400] = 400, 17
    found = find_permutation(labels, seen(true, 1000, 0.6), 1000)
    assert found.cycles == ((17, 400),)


def test_few_images_prove_no_cycle() -> None:
    """Ten images of each of two classes are beyond a coin, but not beyond all the pairs of a thousand classes."""
    for images, expected in ((10, ()), (20, ((0, 1),))):
        labels = np.repeat(np.arange(1000), images)
        predicted = np.where(labels < 2, 1 - labels, labels)
        assert find_permutation(labels, predicted, 1000).cycles == expected


def test_missing_class_is_found_as_a_shift() -> None:
    true = np.repeat([label for label in range(100) if label != 40], 20)
    labels = np.where(true > 40, true - 1, true)
    found = find_permutation(labels, seen(true, 100, 0.6), 100)
    assert found.meaning[39] == 39 and found.meaning[40] == 41 and found.meaning[98] == 99
    assert found.after > 0.55
    assert "off by 1" in order_hint(found.meaning, [str(label) for label in range(100)])


@pytest.mark.parametrize("seed", range(5))
def test_right_labels_of_similar_classes_stay_unchanged(seed: int) -> None:
    labels = np.repeat(np.arange(1000), 50)
    found = find_permutation(labels, seen(labels, 1000, 0.5, seed, twins=300), 1000)
    assert found.cycles == ()
    assert found.meaning.tolist() == list(range(1000))
    assert found.before == found.after


def test_guessing_network_gives_no_permutation() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 10, (2, 5000))
    assert find_permutation(labels, predicted, 10).cycles == ()
    assert find_permutation(labels, np.zeros_like(labels), 10).cycles == ()


def test_short_cycle_is_not_called_off_by_one() -> None:
    names = [f"class {label}" for label in range(20)]
    meaning = np.arange(20)
    for cycle in ([4, 5, 6], [4, 5, 6, 7, 8], [17, 18, 19]):
        meaning[cycle] = np.roll(cycle, -1)
        assert order_hint(meaning, names) == ""
        meaning[cycle] = cycle


@pytest.mark.parametrize(("accuracy", "per_class", "unsure"), [(0.36, 10, 20), (0.9, 5, 20), (0.9, 50, 0)])
def test_labels_that_would_not_show_a_permutation_are_unsure(
    accuracy: float, per_class: int, unsure: int
) -> None:
    true = np.repeat(np.arange(20), per_class)
    labels, predicted = true.copy(), seen(true, 20, accuracy, seed=2)
    labels[np.isin(true, [4, 5, 6])] = np.repeat([5, 6, 4], per_class)
    assert bool(find_permutation(labels, predicted, 20).cycles) == (unsure == 0)
    for said in (true, labels):
        assert len(unsure_labels(said, predicted, 20)) == unsure


def test_common_orders_of_classes_are_recognised() -> None:
    names = [str(number) for number in range(12)]
    as_text = [names.index(name) for name in sorted(names)]
    assert "alphabetical order gives this" in order_hint(np.array(as_text), names)
    assert "from the end" in order_hint(np.arange(12)[::-1], names)
    mixed = ["apple", "Bear", "cat", "Dog"]
    by_code = [mixed.index(name) for name in sorted(mixed)]
    assert "alphabetical order gives this" in order_hint(np.array(by_code), mixed)
    assert "Another list of classes" in order_hint(np.array([3, 1, 0, 2, 6, 5, 4, 7]), list("abcdefgh"))
    assert order_hint(np.array([1, 0, *range(2, 12)]), names) == ""
