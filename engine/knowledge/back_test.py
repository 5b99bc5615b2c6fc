"""How far predictions are off: each known length is left out once and predicted from the others."""

from dataclasses import dataclass

from engine.knowledge.family import Family, Point, Prediction, fit_points


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One point, and its prediction from the points of all other lengths."""

    point: Point
    predicted: Prediction
    error: float
    """Reached less predicted, a share."""
    inside: bool
    """Whether the 90% interval holds the point."""
    covered: bool
    """Whether the length lies between those of the other points; `Family.predict` refuses the rest."""


def leave_one_out(family: Family) -> list[LeftOut]:
    """The test of each point; nothing for a family with fewer than three lengths.

    All points of a length are left out together, so a run's twin with another seed does not help. The interval has no
    replication error: the point was published by those who published the rest.
    """
    if len({point.epochs for point in family.points}) < 3:
        return []
    return [_left_out(family, point) for point in family.points]


def _left_out(family: Family, point: Point) -> LeftOut:
    rest = tuple(other for other in family.points if other.epochs != point.epochs)
    lengths = [other.epochs for other in rest]
    predicted = family.at(point.epochs, fit_points(family, rest), replication_sd=0.0)
    return LeftOut(
        point=point,
        predicted=predicted,
        error=point.top1 - predicted.top1,
        inside=predicted.low <= point.top1 <= predicted.high,
        covered=min(lengths) < point.epochs < max(lengths),
    )
