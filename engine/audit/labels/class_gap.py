"""Classes whose accuracy falls from train to val far more than that of the other classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.labels.binomial import divergence, log_tail

# The probability of reporting any class if all lose alike.
_LOG_ERROR = float(np.log(0.01))
# Smaller drops are not reported, even if certain.
_LEAST_DROP = 0.15
# Prior: each class gets this many images with the average accuracy, so that 100% of 20 images is not certainty.
_PRIOR = 5.0


@dataclass(frozen=True)
class Gap:
    """A class and its accuracies (shares)."""

    label: int
    train: float
    val: float
    expected: float
    """Its val accuracy if it lost as much as the typical class."""
    count: int
    """Number of its images in val."""


def find_gaps(
    train: tuple[NDArray[np.int64], NDArray[np.int64]],
    val: tuple[NDArray[np.int64], NDArray[np.int64]],
    classes: int,
) -> list[Gap]:
    """Classes with an unexpected loss, the largest first; `train` and `val` are (labels, predicted classes), each (n,).

    The typical loss is the median over classes, in log odds. The test is binomial, with a count reduced for the
    uncertainty of train's accuracy and for the usual spread between classes (the median deviation from the expected
    accuracy), and corrected for the number of classes (Bonferroni).
    """
    (seen_train, right_train), (seen_val, right_val) = (_hits(*split, classes) for split in (train, val))
    tested = np.flatnonzero((seen_train > 0) & (seen_val > 0))
    if len(tested) < 3:
        return []
    m, n = seen_train[tested].astype(float), seen_val[tested].astype(float)
    known, measured = (_smooth(right[tested], count) for right, count in ((right_train, m), (right_val, n)))
    expected = _share(_log_odds(known) + np.median(_log_odds(measured) - _log_odds(known)))
    share = right_val[tested] / n
    effective = 1 / (1 / n + 1 / m)
    deviance = np.sqrt(2 * effective * divergence(share, expected))
    spread = max(1.0, 1.4826 * float(np.median(deviance)))
    unlikely = log_tail(share, effective / spread**2, expected) + np.log(len(tested)) < _LOG_ERROR
    found = np.flatnonzero(unlikely & (expected - share >= _LEAST_DROP))
    found = found[np.argsort(share[found] - expected[found], kind="stable")]
    return [
        Gap(
            label=int(tested[place]),
            train=float(right_train[tested][place] / m[place]),
            val=float(share[place]),
            expected=float(expected[place]),
            count=int(n[place]),
        )
        for place in found
    ]


def _hits(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of images of each class, and number of correctly predicted ones."""
    seen = np.bincount(labels, minlength=classes)
    return seen, np.bincount(labels[labels == predicted], minlength=classes)


def _smooth(right: NDArray[np.int64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares strictly between 0 and 1, shrunk a little to the average."""
    average = (right.sum() + 0.5) / (count.sum() + 1)
    smooth: NDArray[np.float64] = (right + _PRIOR * average) / (count + _PRIOR)
    return smooth


def _log_odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(share / (1 - share))
    return odds


def _share(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
    return share
