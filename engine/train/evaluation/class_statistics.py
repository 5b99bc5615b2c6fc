"""Accuracy by class, confusions and calibration: pure functions of a network's predictions, in NumPy.

The results have the form of evaluation.json.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of equally wide bins of confidence, as in Guo et al. 2017."""

MOST_CONFUSIONS = 100

NO_CLASS = -1
"""The predicted class if the network's outputs are not finite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """The predictions for n images; arrays of shape (n,)."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    """The most likely class, or NO_CLASS."""
    in_top5: NDArray[np.bool_]
    """Whether the label is one of the five most likely classes."""
    confidence: NDArray[np.float64]
    """Probability of the most likely class."""
    losses: NDArray[np.float64]
    """Minus the logarithm of the label's probability, in nats."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most likely class is the label."""
        return self.predicted == self.labels


def by_class(outcomes: Outcomes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Images, top-1 and top-5 of each class, in the order of the labels; null if a class has no image."""
    images, top1, top5 = (
        np.bincount(outcomes.labels, weights, minlength=len(names))
        for weights in (None, outcomes.right, outcomes.in_top5)
    )
    return [
        {
            "class": name,
            "images": int(images[label]),
            "top1": figure(top1[label] / images[label]) if images[label] else None,
            "top5": figure(top5[label] / images[label]) if images[label] else None,
        }
        for label, name in enumerate(names)
    ]


def confused_pairs(outcomes: Outcomes, classes: int) -> tuple[NDArray[np.int64], ...]:
    """Labels, wrongly predicted classes, and images of each such pair: int64 (pairs,) each.

    The most frequent first; ties in the order of classes.
    """
    wrong = ~outcomes.right & (outcomes.predicted != NO_CLASS)
    pairs = outcomes.labels[wrong] * classes + outcomes.predicted[wrong]
    found, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return (*np.divmod(found[order], classes), counts[order])


def confusions(outcomes: Outcomes, names: Sequence[str], most: int = MOST_CONFUSIONS) -> list[dict[str, Any]]:
    """The `most` frequent wrong predictions, in the order of `confused_pairs`.

    `share` is the share of the class's images.
    """
    images = np.bincount(outcomes.labels, minlength=len(names))
    pairs = [column[:most] for column in confused_pairs(outcomes, len(names))]
    return [
        {
            "class": names[label],
            "predicted": names[predicted],
            "images": int(count),
            "share": figure(count / images[label]),
        }
        for label, predicted, count in zip(*pairs, strict=True)
    ]


def calibration(outcomes: Outcomes, bins: int = BINS) -> dict[str, Any]:
    """The expected calibration error, the mean negative log-likelihood in nats, and the reliability table.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equations 2, 3 and 5: bin m of M holds the images
    whose confidence is in ((m - 1) / M, m / M], and ECE = sum over m of |B_m| / n * |accuracy(B_m) - confidence(B_m)|.
    """
    # A confidence equal to a bin's upper edge belongs to that bin, independent of rounding.
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, outcomes.confidence, side="left")
    images = np.bincount(place, minlength=bins)
    confidence, accuracy = (
        np.divide(np.bincount(place, values, minlength=bins), images, where=images > 0, out=np.zeros(bins))
        for values in (outcomes.confidence, outcomes.right)
    )
    table = [
        {
            "low": figure(number / bins),
            "high": figure((number + 1) / bins),
            "images": int(images[number]),
            "confidence": figure(confidence[number]) if images[number] else None,
            "accuracy": figure(accuracy[number]) if images[number] else None,
        }
        for number in range(bins)
    ]
    error = float((images * np.abs(accuracy - confidence)).sum() / images.sum())
    return {
        "ece": figure(error),
        "nll": figure(outcomes.losses.mean()),
        "confidence": figure(outcomes.confidence.mean()),
        "bins": table,
    }


def figure(value: float) -> float | None:
    """Rounded to a millionth, beyond which figures depend on the batches; None if not finite."""
    return round(float(value), 6) if math.isfinite(value) else None
