"""Classes that fall are told from classes that are merely hard, few or unlucky."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.audit.labels.binomial import log_tail
from engine.audit.labels.class_gap import find_gaps

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def answers(shares: NDArray[np.float64], per_class: int, seed: int) -> Split:
    """(labels, predicted): each class is recognised with its own probability, else taken for the next one."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shares)), per_class)
    right = random.random(len(labels)) < shares[labels]
    return labels, np.where(right, labels, (labels + 1) % len(shares))


def hardness(classes: int, seed: int = 0) -> NDArray[np.float64]:
    """Log odds of recognising each class in train."""
    return np.random.default_rng(seed).normal(1.8, 0.9, classes)


def share(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-log_odds))


@pytest.mark.parametrize(("classes", "per_class"), [(10, 1000), (1000, 50)])
@pytest.mark.parametrize("loss", [0.2, 1.0])
def test_only_the_broken_class_is_named(classes: int, per_class: int, loss: float) -> None:
    train = hardness(classes)
    broken = int(np.argsort(train)[classes // 2])
    odds = train - loss + np.random.default_rng(1).normal(0, 0.3, classes)
    odds[broken] = -4
    gaps = find_gaps(answers(share(train), per_class, 2), answers(share(odds), per_class, 3), classes)
    assert [gap.label for gap in gaps] == [broken]
    assert gaps[0].val < 0.1 < gaps[0].expected < gaps[0].train + 0.02
    assert gaps[0].count == per_class


@pytest.mark.parametrize("seed", range(6))
def test_memorised_train_set_is_no_finding(seed: int) -> None:
    train = np.full(1000, 7.0)
    odds = hardness(1000, seed) - 0.5
    assert find_gaps(answers(share(train), 50, seed), answers(share(odds), 50, seed + 9), 1000) == []


def test_classes_without_images_are_ignored() -> None:
    labels = np.repeat([0, 2, 4], 50)
    assert find_gaps((labels, labels), (labels, labels), 6) == []
    assert find_gaps((labels[:50], labels[:50]), (labels[:50], labels[:50]), 6) == []


@given(st.integers(1, 200), st.data())
def test_tail_bound_is_never_below_the_exact_tail(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    expected = data.draw(st.floats(0.01, 0.99))
    if hits > expected * count:
        hits, expected = count - hits, 1 - expected
    odds, total = np.log(expected / (1 - expected)), 0.0
    term = count * np.log1p(-expected)
    for number in range(hits + 1):
        total += np.exp(term)
        term += odds + np.log((count - number) / (number + 1)) if number < count else 0
    # Below the smallest normal numbers the sum has no precision left.
    assert total < 1e-300 or np.log(total) <= log_tail(hits / count, count, expected) + 1e-9
