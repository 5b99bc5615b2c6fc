"""The predicted top-1 of an adapted run: the law's for its length, lower after an uneven schedule."""

import pytest

from engine.knowledge.families import find_family
from engine.train.budget.prediction import UNEVEN, predicted_top1
from engine.train.budget.timeline import Timeline
from tests.train.steps import recipe


def fields(timeline: str, family: str = "cifar10-small") -> dict[str, float]:
    config = recipe()
    object.__setattr__(config.plan, "family", family)
    return predicted_top1(config, Timeline.parse(timeline, 8))


def test_even_schedule_is_predicted_by_the_law() -> None:
    law = find_family("cifar10-small").predict(2.5)
    assert fields("0:2.5") == pytest.approx(
        {
            "predicted_top1": law.top1,
            "predicted_top1_low": law.low,
            "predicted_top1_high": law.high,
        }
    )


def test_uneven_schedule_lowers_the_middle_and_widens_the_interval() -> None:
    family = find_family("cifar10-small")
    even, found = fields("0:2.5"), fields("0:4, 2:2.5")
    loss = family.predict(2.5).top1 - family.predict(2.0).top1
    assert even["predicted_top1"] - found["predicted_top1"] == pytest.approx(UNEVEN * loss)
    widths = [one["predicted_top1_high"] - one["predicted_top1_low"] for one in (even, found)]
    assert widths[1] > widths[0]


def test_geometric_length_below_the_range_counts_as_its_shortest() -> None:
    family = find_family("cifar10-small")
    shortest = family.range()[0]
    found = fields("0:3, 0.2:1.2")
    assert Timeline.parse("0:3, 0.2:1.2", 8).geometric_length() < 1.2
    least = family.predict(shortest).top1
    assert least < found["predicted_top1"] <= family.predict(1.2).top1


def test_length_outside_the_range_has_no_prediction() -> None:
    assert fields("0:100") == {} and fields("0:2.5", family="") == {}
