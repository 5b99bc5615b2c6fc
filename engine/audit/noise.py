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
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TEMPERATURES = np.geomspace(0.35, 5.7, 13)
# Times the temperature that fits best.
_AROUND = (0.5, 0.7, 1.0, 1.4, 2.0)
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
    """The 95% interval of the likelihood ratio."""
    wrong: NDArray[np.float64]
    """(n,): the probability that this label is wrong."""


def estimate_noise(log_probabilities: NDArray[np.float16], labels: NDArray[np.int64]) -> Noise:
    """The noise in `labels` (n,), below `classes`; log_probabilities is (n, classes)."""
    classes = log_probabilities.shape[1]
    blind = np.full(len(labels), 1 / classes)
    best = max(
        _TEMPERATURES,
        key=lambda heat: _fit(np.stack([_softened(log_probabilities, labels, heat), blind], axis=1))[1],
    )
    parts = np.stack([*(_softened(log_probabilities, labels, best * by) for by in _AROUND), blind], axis=1)
    weights, likelihood = _fit(parts)
    # A label drawn blindly is right once in `classes` draws.
    scale = (classes - 1) / classes
    low, high = (_bound(parts, float(weights[-1]), likelihood, end) for end in (0.0, 1.0))
    wrong = weights[-1] / classes / (parts @ weights) * scale
    return Noise(float(weights[-1]) * scale, low * scale, high * scale, wrong)


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
    return result


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


def _bound(parts: NDArray[np.float64], best: float, likelihood: float, end: float) -> float:
    """Where, between the best noise and `end`, the log likelihood has fallen by _DROP; `end` if it never does."""
    near, far = best, end
    for _ in range(20):
        middle = (near + far) / 2
        if likelihood - _fit(parts, middle)[1] < _DROP:
            near = middle
        else:
            far = middle
    return far
