"""What is expected of a run, as fields of the log: its accuracy from its family, its time from its plan."""

import math
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import find_family
from engine.knowledge.family import Family, Prediction
from engine.train.budget.timeline import Timeline

UNEVEN = 0.44
"""What a schedule that was passed unevenly costs, as a share of the difference between the accuracies that the law
gives for the run's length and for its geometric length: the mean of ten runs that other work disturbed, which lost
0.13, 0.20, 0.39, 0.40, 0.41, 0.41, 0.50, 0.61, 0.65 and 0.67 of it (docs/guide/plan.md)."""
UNEVEN_WIDTH = 0.34
"""Half of the 90% interval of UNEVEN for one new run, by Student's t and the spread of the ten."""


def predicted_top1(config: TrainConfig, timeline: Timeline) -> dict[str, Any]:
    """The log's fields on the top-1 that plan.family predicts for a run; none for lengths outside its range.

    Raises UserError for a family that does not exist.
    """
    if not config.plan.family:
        return {}
    family = find_family(config.plan.family)
    try:
        found = family.predict(timeline.length)
    except UserError:
        # Nothing is extrapolated: a run of another length has no prediction.
        return {}
    loss = found.top1 - _of_geometric_length(family, found, timeline)
    middle, width = found.top1 - UNEVEN * loss, UNEVEN_WIDTH * loss
    return {
        "predicted_top1": middle,
        "predicted_top1_low": middle - math.hypot(found.top1 - found.low, width),
        "predicted_top1_high": middle + math.hypot(found.high - found.top1, width),
    }


def _of_geometric_length(family: Family, found: Prediction, timeline: Timeline) -> float:
    """The accuracy for the run's geometric length, or for the shortest that the family covers."""
    length = max(timeline.geometric_length(), family.range()[0])
    return found.top1 if length >= timeline.length else family.predict(length).top1


def predicted_fields(config: TrainConfig, timeline: Timeline) -> dict[str, Any]:
    """The start line's fields for the predicted top-1 and time of a run. Raises UserError for an unknown family."""
    plan, found = config.plan, predicted_top1(config, timeline)
    if plan.family:
        found["family"] = plan.family
    if plan.minutes:
        found["predicted_seconds"] = 60 * plan.minutes
    if plan.minutes_high:
        found["predicted_seconds_low"] = 60 * plan.minutes_low
        found["predicted_seconds_high"] = 60 * plan.minutes_high
    return found
