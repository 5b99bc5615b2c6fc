"""A family: one recipe trained for several lengths, from which the accuracy of a further length is predicted."""

import math
from dataclasses import dataclass
from functools import cached_property

from engine.errors import UserError
from engine.knowledge.law import Law, Observation, fit

ROUNDING_SD = 0.0003
"""Published figures are rounded to 0.1 points: uniform within +-0.05 points."""
REPLICATION_SD = 0.0022
"""How far a published recipe, run again elsewhere, is from its publication, beyond seeds.

mmpretrain's reruns of RSB A3, A2 and A1 differ by 0.25, 0.28 and 0.26 points; less the seed spread of two runs, 0.1
each, that is 0.22."""
SEED_SD = 0.001
"""Where a family has no seed spread: that of MLPerf's LARS runs (n=220), the largest published sample."""
PUBLISHED_DEGREES, MEASURED_DEGREES = 4.0, 1.0
"""What the expected spread counts against the residuals, in observations: published spreads are often another
family's; our own are estimated from the runs that are fitted."""
BEYOND = 0.01
"""A length may exceed the range by 1%, as 29 epochs do where 28.8 are known: epochs are whole numbers in a recipe."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The accuracy of runs of one length."""

    epochs: float
    top1: float
    """A share, 0 to 1."""
    runs: int = 1
    sd: float | None = None
    """Between runs that differ in their seed alone, a share."""
    hardware: str = ""
    minutes: float | None = None
    source: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy by epoch, for runs of one length."""

    epochs: float
    """The length of the schedule."""
    runs: int
    points: tuple[tuple[float, float, float | None], ...]
    """(epochs done, mean top-1, standard deviation between the runs or None)."""
    source: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a new run of `epochs` reaches; low to high holds it in 90% of cases."""

    epochs: float
    top1: float
    low: float
    high: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """One recipe, trained for several lengths with its schedule stretched; `measured`: by us."""

    name: str
    title: str
    network: str
    data: str
    recipe: str
    """The recipe file to stretch, relative to the project's root; empty: the shelf has none."""
    points: tuple[Point, ...]
    source: str
    measured: bool
    num_train: int
    num_val: int
    note: str = ""
    seed_sd: float | None = None
    """Another family's, for one that publishes none."""
    curves: tuple[Curve, ...] = ()
    unfitted: tuple[Point, ...] = ()
    """Known, but not fitted: runs elsewhere, and runs too short for the recipe's last phase."""

    def range(self) -> tuple[float, float]:
        """The shortest and the longest length that is known, in epochs."""
        lengths = [point.epochs for point in self.points]
        return min(lengths), max(lengths)

    @cached_property
    def law(self) -> Law:
        """The error as a function of epochs."""
        return fit_points(self, self.points)

    @property
    def spread(self) -> float:
        """Standard deviation between runs that differ in their seed alone, pooled over the family (a share)."""
        return _pooled_sd(self) or self.seed_sd or SEED_SD

    def predict(self, epochs: float) -> Prediction:
        """The accuracy of one new run of `epochs`, elsewhere.

        The interval holds the fit's error, seed spread and, for a published recipe, the difference between
        publication and rerun. Raises UserError outside the range: nothing is extrapolated.
        """
        low, high = self.range()
        if not low * (1 - BEYOND) <= epochs <= high * (1 + BEYOND):
            raise UserError(
                f"family {self.name} covers {_span(low, high)}, not {epochs:g}: choose a length that it covers, or "
                "another family"
            )
        return self.at(epochs, self.law, 0.0 if self.measured else REPLICATION_SD)

    def at(self, epochs: float, law: Law, replication_sd: float) -> Prediction:
        """The prediction of a law for `epochs`, whatever the range."""
        sd = math.sqrt(law.variance(epochs, self.spread**2) + replication_sd**2)
        top1, half = 1 - law.error(epochs), law.half_width(sd)
        return Prediction(
            epochs=epochs, top1=top1, low=max(0.0, top1 - half), high=min(1.0, top1 + half), sd=sd
        )

    def epochs_for(self, top1: float) -> float:
        """The shortest length whose predicted middle reaches `top1` (a share). Raises UserError if none does."""
        low, high = self.range()
        best = self.predict(high).top1
        if best < top1:
            raise UserError(
                f"family {self.name} reaches {best:.2%} in {high:g} epochs, the most that it covers, not {top1:.2%}: "
                "lower the target, or choose another family"
            )
        if self.predict(low).top1 >= top1:
            return low
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.predict(middle).top1 >= top1 else (middle, high)
        return high

    def probability(self, epochs: float, top1: float) -> float:
        """That one new run of `epochs` reaches `top1` (a share). Raises UserError outside the range."""
        found = self.predict(epochs)
        return self.law.chance_below(found.top1 - top1, found.sd)


def fit_points(family: Family, points: tuple[Point, ...]) -> Law:
    """The law through these points of the family. Raises UserError without any."""
    rounding = 0.0 if family.measured else ROUNDING_SD
    return fit(
        [
            Observation(
                epochs=point.epochs,
                error=1 - point.top1,
                variance=family.spread**2 / point.runs + rounding**2,
            )
            for point in points
        ],
        MEASURED_DEGREES if family.measured else PUBLISHED_DEGREES,
    )


def _pooled_sd(family: Family) -> float:
    """From the published spreads; of our own runs from those of equal length. 0 where there is neither."""
    squares = [(max(1, point.runs - 1), point.sd**2) for point in family.points if point.sd]
    if family.measured:
        for epochs in {point.epochs for point in family.points}:
            same = [point.top1 for point in family.points if point.epochs == epochs]
            mean = sum(same) / len(same)
            squares.append((len(same) - 1, sum((top1 - mean) ** 2 for top1 in same) / max(1, len(same) - 1)))
    degrees = sum(count for count, _ in squares)
    return math.sqrt(sum(count * square for count, square in squares) / degrees) if degrees else 0.0


def _span(low: float, high: float) -> str:
    return f"{low:g} epochs alone" if low == high else f"{low:g} to {high:g} epochs"
