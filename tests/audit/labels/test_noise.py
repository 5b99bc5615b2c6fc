"""The share of wrong labels is estimated from made-up probabilities whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.audit.labels.noise import estimate_noise

CLASSES = 12
Sample = tuple[NDArray[np.float16], NDArray[np.int64]]


def network(count: int, *, sureness: float, seed: int = 0) -> Sample:
    """Log probabilities of a network that is right as often as it says when `sureness` is 1, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2.5, (count, CLASSES))
    # Drawing from a softmax is taking the largest after adding Gumbel noise.
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    logits *= sureness
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logs.astype(np.float16), labels


def flip(
    labels: NDArray[np.int64], share: float, seed: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of which this share is another class than before, and which those are."""
    random = np.random.default_rng(seed)
    which = random.choice(len(labels), round(share * len(labels)), replace=False)
    flipped = labels.copy()
    flipped[which] = (labels[which] + random.integers(1, CLASSES, len(which))) % CLASSES
    return flipped, which


@pytest.mark.slow
@pytest.mark.parametrize("sureness", [0.6, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_interval_holds_the_true_share_for_any_confidence(share: float, sureness: float) -> None:
    logs, labels = network(3000, sureness=sureness)
    noise = estimate_noise(logs, flip(labels, share)[0])
    # A little beyond it, as one interval in twenty.
    assert noise.low - 0.008 <= share <= noise.high + 0.008
    assert abs(noise.share - share) < max(0.025, 0.2 * share)
    assert noise.high - noise.low < 0.08


def test_network_unsure_of_some_images_gives_no_noise() -> None:
    sharp, soft = network(2000, sureness=1.5), network(2000, sureness=0.8, seed=5)
    logs, labels = np.concatenate([sharp[0], soft[0]]), np.concatenate([sharp[1], soft[1]])
    assert estimate_noise(logs, labels).low < 0.01


def test_named_images_are_the_flipped_ones_surest_first() -> None:
    logs, labels = network(4000, sureness=1.0)
    flipped, which = flip(labels, 0.1)
    wrong = estimate_noise(logs, flipped).wrong
    assert np.isin(np.argsort(-wrong)[:100], which).mean() > 0.9
    assert np.isin(np.flatnonzero(wrong > 0.5), which).mean() > 0.7
    assert wrong.sum() == pytest.approx(len(which), rel=0.2)
    assert wrong.min() >= 0 and wrong.max() <= 1


def test_few_images_give_a_wide_interval() -> None:
    logs, labels = network(120, sureness=1.0)
    noise = estimate_noise(logs, flip(labels, 0.05)[0])
    assert noise.high - noise.low > 0.03


@pytest.mark.slow
@pytest.mark.parametrize("sureness", [0.05, 2.5])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_tail_bound_holds_for_an_unsure_network(share: float, sureness: float) -> None:
    logs, labels = network(4000, sureness=sureness)
    noise = estimate_noise(logs, flip(labels, share)[0])
    assert share < noise.most
    # Of the right labels of this network a thousandth is the least probable class.
    assert noise.most < 1.5 * share + 0.03


def test_weak_network_gives_a_bound_but_no_estimate() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 1.2, (4000, CLASSES))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    # Its probabilities are too even for what it knows, so that doubt explains every label.
    logs = logits / 2 - np.log(np.exp(logits / 2).sum(axis=1, keepdims=True))
    noise = estimate_noise(logs.astype(np.float16), flip(labels, 0.1)[0])
    assert noise.low < 0.1 < noise.most < 0.4


def test_tied_probabilities_do_not_lower_the_bound() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, CLASSES, 3000)
    # All but the first three of each image are equal, as where probabilities are cut off below.
    logs = np.full((3000, CLASSES), -27.6, np.float16)
    for rank in range(3):
        logs[np.arange(3000), (labels + rank) % CLASSES] = -0.01 - 4 * rank
    flipped = flip(labels, 0.1)[0]
    assert 0.1 < estimate_noise(logs, flipped).most < 0.15
