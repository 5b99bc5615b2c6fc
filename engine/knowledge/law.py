"""Top-1 error as a function of epochs: a fit by least squares, with the interval for one new run.

Errors fall as a power of the length, towards a floor: a + b E^-c (Hestness et al. 2017, arXiv 1712.00409; with the
schedule stretched whole, Li et al. 2020, Budgeted Training). Where few lengths are known the power is not fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError

Array = NDArray[np.float64]

USUAL_POWER = 0.8
"""The power where two or three lengths are known: between those fitted to ffcv-imagenet's ResNet-50 and ResNet-18."""
LEAST_POWER, MOST_POWER = 0.1, 3.0
POWERS = np.geomspace(LEAST_POWER, MOST_POWER, 1201)
"""The powers that are tried, 0.3% apart: far finer than any data can tell them apart."""
COVERAGE = 0.9
"""Share of new runs that an interval should hold."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One accuracy that a fit stands on."""

    epochs: float
    error: float
    variance: float
    """Expected variance of `error` about the law: seed spread and rounding."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """error = floor + factor * epochs^-power, and how well it is known."""

    words: str
    floor: float
    factor: float
    power: float
    free: tuple[int, ...]
    """Which of floor, factor and power were fitted and did not end at a bound."""
    covariance: Array
    """Of the free ones; shape (len(free), len(free))."""
    scale: float
    """Variance about the law, as a multiple of the expected one."""
    degrees: float
    """Degrees of freedom behind `scale`."""
    rms: float
    """Root mean square of the residuals, as a share."""

    def error(self, epochs: float) -> float:
        """The predicted top-1 error (a share) after `epochs`."""
        return self.floor + (self.factor * epochs**-self.power if self.factor else 0.0)

    def variance(self, epochs: float, of_a_run: float) -> float:
        """Variance of one new run of `epochs` about `error`: its own (`of_a_run` as expected) and the fit's.

        The fit's is that of the linearised model: g' C g with the gradient g (Seber and Wild 1989, section 5.1).
        """
        gradient = _gradients(np.array([epochs]), self.factor, self.power)[0, list(self.free)]
        return self.scale * (of_a_run + float(gradient @ self.covariance @ gradient))

    def half_width(self, sd: float) -> float:
        """Half of the interval that holds a new run in 90% of cases, by Student's t; `sd` of the prediction."""
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees, (1 + COVERAGE) / 2)) * sd

    def chance_below(self, margin: float, sd: float) -> float:
        """Probability that a new run's error is at most the predicted one plus `margin`."""
        from scipy.special import stdtr

        return float(stdtr(self.degrees, margin / sd))


def fit(observed: Sequence[Observation], prior_degrees: float) -> Law:
    """The law through the observations, weighted by 1/variance.

    Four lengths and more: a + b E^-c with a >= 0, b >= 0, c from 0.1 to 3. Two or three: a + b E^-0.8. One: its mean.
    The expected variances count as `prior_degrees` observations beside the residuals (a scaled inverse chi-squared
    prior), so few points give an interval that is neither absurdly wide nor zero. Raises UserError without points.
    """
    if not observed:
        raise UserError("there are no accuracies to fit a law to: give at least one")
    epochs = np.array([one.epochs for one in observed])
    errors = np.array([one.error for one in observed])
    weights = 1 / np.array([one.variance for one in observed])
    lengths = len(set(epochs.tolist()))
    if lengths == 1:
        floor, factor, power, free = float(np.average(errors, weights=weights)), 0.0, USUAL_POWER, [0]
    else:
        powers = POWERS if lengths >= 4 else np.array([USUAL_POWER])
        floor, factor, power = _fit_linear(epochs, errors, weights, powers)
        free = [0, 1, 2] if lengths >= 4 and LEAST_POWER < power < MOST_POWER else [0, 1]
    if floor == 0:
        free = [index for index in free if index != 0]
    residuals = errors - floor - factor * epochs**-power
    gradients = _gradients(epochs, factor, power)[:, free]
    left = max(0, len(observed) - len(free))
    scale = (prior_degrees + float(weights @ residuals**2)) / (prior_degrees + left)
    return Law(
        words=_words(lengths, floor, factor, power),
        floor=floor,
        factor=factor,
        power=power,
        free=tuple(free),
        covariance=_inverse(gradients.T @ (weights[:, None] * gradients)),
        scale=scale,
        degrees=prior_degrees + left,
        rms=float(np.sqrt(np.mean(residuals**2))),
    )


def _fit_linear(epochs: Array, errors: Array, weights: Array, powers: Array) -> tuple[float, float, float]:
    """(floor, factor, power) with the least weighted sum of squared residuals; neither floor nor factor below zero.

    For a given power the law is a straight line in epochs^-power, so only the powers are searched.
    """
    weights = weights / weights.sum()
    terms = epochs ** -powers[:, None]
    centred = terms - (terms @ weights)[:, None]
    factors = (centred * errors) @ weights / (centred**2 @ weights)
    factors = np.maximum(factors, 0)
    floors = errors @ weights - factors * (terms @ weights)
    # Below zero the best floor is zero, and the line goes through the origin.
    through = (terms * errors) @ weights / (terms**2 @ weights)
    factors, floors = np.where(floors < 0, through, factors), np.maximum(floors, 0)
    residuals = errors - floors[:, None] - factors[:, None] * terms
    best = int(np.argmin(residuals**2 @ weights))
    return float(floors[best]), float(factors[best]), float(powers[best])


def _gradients(epochs: Array, factor: float, power: float) -> Array:
    """Of the error by floor, factor and power; shape (len(epochs), 3)."""
    term = epochs**-power
    return np.stack([np.ones_like(epochs), term, -factor * term * np.log(epochs)], axis=1)


def _inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.pinv(matrix), dtype=np.float64)


def _words(lengths: int, floor: float, factor: float, power: float) -> str:
    if lengths == 1:
        return f"{100 * floor:.2f} (one length: no fit)"
    how = "" if lengths >= 4 else ", power not fitted"
    return f"{100 * floor:.2f} + {100 * factor:.1f} E^-{power:.2f}{how}"
