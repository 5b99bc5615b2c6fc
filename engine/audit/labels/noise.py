"""The share of randomly wrong labels, and which ones: labels that the network contradicts more than its own mistakes
explain.

A network confuses similar classes: the right class is mostly among its next guesses. A flipped label is unrelated to
the image and may be any class. So the labels y of images x are modelled as a mixture,

    P(y | x) = (1 - noise) sum_k w_k softmax(logits(x) / T_k)[y] + noise / classes

whose first part is the network at several temperatures. These correct for overconfidence from val itself, so that a
network that has memorised its training images is not trusted as much on val. The weights maximise the likelihood, which
has a single maximum. The noise estimated in train, whose labels were learnt, is reported for comparison.

An unsure network explains some of the noise away: with 5% of CIFAR-10's labels flipped, a network with 76% accuracy
gives 4.2%, one with 43% almost nothing. So there is also a bound that does not depend on confidence. A flipped label is
as likely among the classes with the lowest probabilities as among the others, and the right class is hardly ever among
those: the number of labels in that tail limits the noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.labels.binomial import wilson

# Temperatures of the search, and of its refinement: the estimate depends on the temperature.
_COARSE = 0.1 * 1.3 ** np.arange(16)
_FINE = 1.05 ** np.arange(-6, 7)
# A mixture has one temperature and colder ones, since networks are surer of some images than a single temperature
# allows. Hotter ones would explain noise as doubt.
_COLDER = (1.0, 1.5, 2.3)
_STEPS = 300
_ROWS = 4096
# Half the chi-squared quantile of 95% with one degree of freedom.
_DROP = 1.92


@dataclass(frozen=True, eq=False)
class Noise:
    """An estimate for a set of labels; shares."""

    share: float
    """Share of wrong labels."""
    low: float
    high: float
    """The 95% interval of the likelihood ratio, also over temperatures."""
    most: float
    """Upper bound (95%) from the tail, if all wrong classes are equally likely."""
    wrong: NDArray[np.float64]
    """(n,): the probability that this label is wrong."""


def estimate_noise(log_probabilities: NDArray[np.float16], labels: NDArray[np.int64]) -> Noise:
    """The noise in `labels` (n,), given the network's log-probabilities (n, classes)."""
    classes = log_probabilities.shape[1]
    blind = np.full(len(labels), 1 / classes)

    def mixture(heat: float) -> NDArray[np.float64]:
        return np.stack([*(_softened(log_probabilities, labels, heat / by) for by in _COLDER), blind], axis=1)

    middle = max(_COARSE, key=lambda heat: _fit(mixture(heat))[1])
    # The coarse ones too: if all images are equally easy, temperature explains as much as noise; the interval widens.
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
    # A random label is right with probability 1 / classes; this one as often as a clean one would be.
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
    """The smallest bound from tails of half of the classes, a quarter, ..., one: those of the lowest probabilities.

    A share size / (classes - 1) of wrong labels is in a tail, so the labels seen there bound their number. If classes
    tie at the border of a tail, a label counts with the share of the tied places inside.
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
    """The probability of each label at this temperature, float64 (n,)."""
    result = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS):
        logits = log_probabilities[start : start + _ROWS].astype(np.float32) / np.float32(temperature)
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(logits)), labels[start : start + _ROWS]]
        result[start : start + _ROWS] = np.exp(own) / np.exp(logits).sum(axis=1)
    # A probability of 0 would make the logarithm infinite.
    return np.maximum(result, 1e-30)


def _fit(parts: NDArray[np.float64], noise: float | None = None) -> tuple[NDArray[np.float64], float]:
    """Weights (parts,) of the mixture of the columns of `parts` (n, parts), by expectation maximisation.

    The last weight is the noise; it is fixed if `noise` is given. Also returns the log-likelihood.
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
    """The noise between `best` and `end` at which the log-likelihood has fallen to `floor`."""
    near, far = float(best), end
    for _ in range(12):
        middle = (near + far) / 2
        if _fit(parts, middle)[1] > floor:
            near = middle
        else:
            far = middle
    return far
