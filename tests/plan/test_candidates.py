"""Every length of a family, with its time and accuracy."""

from dataclasses import replace
from itertools import pairwise

import pytest

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import FAMILIES, Family
from engine.plan.candidates import candidates, family_recipe, frontier, lengths
from engine.plan.pace.machine_pace import Pace


def test_lengths_are_tenths_below_ten_and_whole_beyond(family: Family) -> None:
    found = lengths(family)
    assert found[:3] == [2.0, 2.1, 2.2]
    assert found[-4:] == [9.9, 10.0, 11.0, 12.0]
    assert len(found) == 83


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_length_can_be_predicted(name: str) -> None:
    family = FAMILIES[name]
    assert all(0 < family.predict(length).top1 < 1 for length in lengths(family))


def test_candidate_carries_price_and_precision(family: Family, recipe: TrainConfig, pace: Pace) -> None:
    found = candidates(family, recipe, replace(pace, precision="fp32"), price=36.0)
    assert {one.config.training.precision for one in found} == {"fp32"}
    assert found[0].cost == pytest.approx(found[0].duration.seconds / 100)
    assert candidates(family, recipe, pace)[0].cost is None


def test_longer_candidates_take_longer(family: Family, recipe: TrainConfig, pace: Pace) -> None:
    seconds = [one.duration.seconds for one in candidates(family, recipe, pace) if one.epochs >= 10]
    assert seconds == sorted(seconds)


def test_frontier_has_no_run_that_another_beats(family: Family, recipe: TrainConfig, pace: Pace) -> None:
    found = candidates(family, recipe, pace)
    kept = frontier([*found, replace(found[5], prediction=found[0].prediction)])
    times = [(one.duration.seconds, one.prediction.top1) for one in kept]
    assert times == sorted(times)
    assert all(first[1] < second[1] for first, second in pairwise(times))


def test_family_without_recipe_is_refused(family: Family) -> None:
    with pytest.raises(UserError, match="has no recipe here"):
        family_recipe(replace(family, recipe=""))


def test_recipe_of_several_stages_is_refused(family: Family) -> None:
    with pytest.raises(UserError, match="can't be stretched"):
        family_recipe(replace(family, recipe="rn50_configs/dawnbench_21_epochs.yaml"))
