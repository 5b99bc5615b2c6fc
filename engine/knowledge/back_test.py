"""How far predictions are off: each known length is left out once and predicted from the others."""

from dataclasses import dataclass

from engine.knowledge.family import REPLICATION_SD, Family, Point, Prediction, fit_points


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One point, and its prediction from the points of all other lengths."""

    point: Point
    predicted: Prediction
    error: float
    """Reached less predicted, a share."""
    inside: bool
    """Whether the 90% interval for a run by the same people holds the point."""
    inside_elsewhere: bool
    """Whether the interval of `Family.predict` does, which for a published family has replication error too."""
    covered: bool
    """Whether the length lies between those of the other points; `Family.predict` refuses the rest."""


def leave_one_out(family: Family) -> list[LeftOut]:
    """The test of each point; nothing for a family with fewer than three lengths.

    All points of a length are left out together, so a run's twin with another seed does not help. The point was
    published by those who published the rest, so `predicted` has no replication error.
    """
    if len({point.epochs for point in family.points}) < 3:
        return []
    return [_left_out(family, point) for point in family.points]


def _left_out(family: Family, point: Point) -> LeftOut:
    rest = tuple(other for other in family.points if other.epochs != point.epochs)
    lengths = [other.epochs for other in rest]
    law = fit_points(family, rest)
    predicted = family.at(point.epochs, law, replication_sd=0.0)
    elsewhere = family.at(point.epochs, law, replication_sd=0.0 if family.measured else REPLICATION_SD)
    return LeftOut(
        point=point,
        predicted=predicted,
        error=point.top1 - predicted.top1,
        inside=predicted.low <= point.top1 <= predicted.high,
        inside_elsewhere=elsewhere.low <= point.top1 <= elsewhere.high,
        covered=min(lengths) < point.epochs < max(lengths),
    )
