"""What is expected of a run, as fields of the log: its accuracy from its family, its time from its plan."""

from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import find_family


def predicted_top1(config: TrainConfig, epochs: float) -> dict[str, Any]:
    """The log's fields on the top-1 that plan.family predicts for `epochs`; none outside of the range it covers.

    Raises UserError for a family that does not exist.
    """
    if not config.plan.family:
        return {}
    family = find_family(config.plan.family)
    try:
        found = family.predict(epochs)
    except UserError:
        # Nothing is extrapolated: a run of another length has no prediction.
        return {}
    return {
        "predicted_top1": found.top1,
        "predicted_top1_low": found.low,
        "predicted_top1_high": found.high,
    }


def predicted_fields(config: TrainConfig, epochs: float) -> dict[str, Any]:
    """The start line's fields on what is expected of a run of `epochs`. Raises UserError for an unknown family."""
    plan, found = config.plan, predicted_top1(config, epochs)
    if plan.family:
        found["family"] = plan.family
    if plan.minutes:
        found["predicted_seconds"] = 60 * plan.minutes
    if plan.minutes_high:
        found["predicted_seconds_low"] = 60 * plan.minutes_low
        found["predicted_seconds_high"] = 60 * plan.minutes_high
    return found
