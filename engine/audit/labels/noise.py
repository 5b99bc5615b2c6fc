"""How many labels are wrong at random, and which: where the network is sure of another class and sees nothing of
the label, more often than its own mistakes explain.

A network's mistakes are about what can be mistaken: the right class is mostly among its next guesses. A label that
was flipped has nothing to do with the image: it may be any class. So the labels y of images x are taken for a
mixture,

    P(y | x) = (1 - noise) sum_k w_k softmax(logits(x) / T_k)[y] + noise / classes

whose first part is the network at several temperatures: overconfident or not, it is corrected by what val itself
shows, so that a network that knows its training images by heart is not believed to know val's as well. The weights
are those of the largest likelihood, which has a single maximum. What the mixture calls noise in train, where labels
are the ones that were learnt, is reported beside.

A network's own doubt explains some of the noise away: of one with 76% of CIFAR-10 right, and 5% of the labels flipped,
it says 4.2%; of one with 43%, next to nothing. So there is a bound beside it that doubt has no part in. A flipped label
is as likely among the classes that the network holds least probable as among the others, where the right one hardly
ever is: noise can't be more than would fill that tail.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.labels.binomial import wilson

# Where the best temperature is looked for, and how it is refined: the share of noise depends on it.
_COARSE = 0.1 * 1.3 ** np.arange(16)
_FINE = 1.05 ** np.arange(-6, 7)
# A mixture has one temperature and colder ones: networks are surer of some images than one temperature for all says.
# Hotter ones would pass noise off as doubt.
_COLDER = (1.0, 1.5, 2.3)
_STEPS = 300
_ROWS = 4096
# Half the chi-squared quantile of 95% with one degree of freedom.
_DROP = 1.92


@dataclass(frozen=True, eq=False)
class Noise:
    """An estimate for one set of labels; shares of it."""

    share: float
    """Labels that are wrong."""
    low: float
    high: float
    """The 95% interval of the likelihood ratio, over the temperatures as well."""
    most: float
    """What it can't be above, as far as wrong labels are any other class alike: the tail's bound, 95%."""
    wrong: NDArray[np.float64]
    """(n,): the probability that this label is wrong."""


def estimate_noise(log_probabilities: NDArray[np.float16], labels: NDArray[np.int64]) -> Noise:
    """The noise in `labels` (n,), below `classes`; log_probabilities is (n, classes)."""
    classes = log_probabilities.shape[1]
    blind = np.full(len(labels), 1 / classes)

    def mixture(heat: float) -> NDArray[np.float64]:
        return np.stack([*(_softened(log_probabilities, labels, heat / by) for by in _COLDER), blind], axis=1)

    middle = max(_COARSE, key=lambda heat: _fit(mixture(heat))[1])
    # The others too: where all images are equally easy, heat explains as much as noise, and the interval says so.
    mixtures = [mixture(heat) for heat in (*(middle * _FINE), *_COARSE)]
    fits = [_fit(parts) for parts in mixtures]
    likelihoods = [likelihood for _, likelihood in fits]
    best = int(np.argmax(likelihoods))
    floor = likelihoods[best] - _DROP
    ends = [
        (_bound(parts, weights[-1], floor, 0.0), _bound(parts, weights[-1], floor, 1.0))
        for parts, (weights, likelihood) in zip(mixtures, fits, strict=True)
        if likelihood > floor
    ]
    weights, parts = fits[best][0], mixtures[best]
    clean = parts[:, :-1] @ weights[:-1]
    # A label drawn blindly is right once in `classes` draws; this one, as often as a clean one would be.
    scale = (classes - 1) / classes
    drawn = weights[-1] / classes / (clean + weights[-1] / classes)
    return Noise(
        share=float(weights[-1]) * scale,
        low=min(low for low, _ in ends) * scale,
        high=max(high for _, high in ends) * scale,
        most=_tail_bound(log_probabilities, labels),
        wrong=drawn * (1 - clean / (1 - weights[-1])),
    )


def _tail_bound(log_probabilities: NDArray[np.float16], labels: NDArray[np.int64]) -> float:
    """The least of the bounds by tails of half the classes, a quarter, ..., one: those of the lowest probability.

    Of wrong labels size / (classes - 1) are in a tail, by then of all at most what is seen there. Where classes tie
    at its border a label counts as the share of its places in it.
    """
    classes = log_probabilities.shape[1]
    above, tied = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
    for start in range(0, len(labels), _ROWS):
        logs = log_probabilities[start : start + _ROWS]
        own = logs[np.arange(len(logs)), labels[start : start + _ROWS]][:, None]
        above[start : start + _ROWS] = (logs > own).sum(axis=1)
        tied[start : start + _ROWS] = (logs == own).sum(axis=1)
    bounds, size = [1.0], classes // 2
    while size:
        inside = np.clip((above + tied - (classes - size)) / tied, 0, 1).sum()
        bounds.append(wilson(float(inside), len(labels))[1] * (classes - 1) / size)
        size //= 2
    return min(bounds)


def _softened(
    log_probabilities: NDArray[np.float16], labels: NDArray[np.int64], temperature: float
) -> NDArray[np.float64]:
    """(n,): the probability of each label at this temperature."""
    result = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS):
        logits = log_probabilities[start : start + _ROWS].astype(np.float32) / np.float32(temperature)
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(logits)), labels[start : start + _ROWS]]
        result[start : start + _ROWS] = np.exp(own) / np.exp(logits).sum(axis=1)
    # A label of probability 0 would make a logarithm infinite.
    return np.maximum(result, 1e-30)


def _fit(parts: NDArray[np.float64], noise: float | None = None) -> tuple[NDArray[np.float64], float]:
    """Weights (parts,) of the mixture with the columns of `parts` (n, parts), by expectation and maximisation.

    The last weight, the noise's, stays `noise` where that is given. Also returns the log likelihood.
    """
    count = parts.shape[1]
    weights = np.full(count, 1 / count)
    likelihood = -np.inf
    for _ in range(_STEPS):
        if noise is not None:
            weights[:-1] *= (1 - noise) / weights[:-1].sum()
            weights[-1] = noise
        joint = parts @ weights
        before, likelihood = likelihood, float(np.log(joint).sum())
        if likelihood - before < 1e-3:
            break
        weights = weights * (parts.T @ (1 / joint)) / len(parts)
    return weights, likelihood


def _bound(parts: NDArray[np.float64], best: float, floor: float, end: float) -> float:
    """Where, between the best noise and `end`, the log likelihood has fallen to `floor`."""
    near, far = float(best), end
    for _ in range(12):
        middle = (near + far) / 2
        if _fit(parts, middle)[1] > floor:
            near = middle
        else:
            far = middle
    return far
