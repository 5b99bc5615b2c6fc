"""The shortest run that is sure of a target, and the target that is kept where time is short."""

import pytest

from engine.config.train.train_config import TrainConfig
from engine.knowledge.families import Family
from engine.plan.candidates import Candidate, candidates
from engine.plan.pace.machine_pace import Pace
from engine.plan.surest import ACCURACY_SURE, likeliest, surest


@pytest.fixture(scope="module")
def found(family: Family, recipe: TrainConfig, pace: Pace) -> list[Candidate]:
    return candidates(family, recipe, pace)


@pytest.mark.parametrize("target", [0.72, 0.75, 0.8])
def test_offer_is_the_shortest_run_that_keeps_both(found: list[Candidate], target: float) -> None:
    offer = surest(found, target)
    assert offer.target == target and not offer.lowered
    assert offer.pick.accuracy_holds(target) >= ACCURACY_SURE and offer.probability >= 0.9
    assert offer.seconds == offer.pick.duration.high
    shorter = [one for one in found if one.duration.seconds < offer.pick.duration.seconds]
    assert all(one.accuracy_holds(target) < ACCURACY_SURE for one in shorter)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_target_is_the_highest_half_point_that_fits_the_time(found: list[Candidate], share: float) -> None:
    most = share * surest(found, 0.8).seconds
    offer = surest(found, 0.8, most)
    assert offer.lowered and offer.target < 0.8 and offer.seconds <= most
    assert offer.probability >= 0.9
    assert offer.target * 200 == pytest.approx(round(offer.target * 200))
    assert surest(found, offer.target + 0.005).seconds > most


def test_target_between_half_points_is_rounded_down(found: list[Candidate]) -> None:
    assert surest(found, 0.7549, surest(found, 0.75).seconds).target == 0.75


def test_unreachable_target_is_lowered(found: list[Candidate]) -> None:
    offer = surest(found, 0.99)
    assert offer.lowered and 0.8 < offer.target < 0.85 and offer.probability >= 0.9


def test_shortest_run_is_offered_where_nothing_fits(found: list[Candidate]) -> None:
    offer = surest(found, 0.8, 1.0)
    assert offer.pick == min(found, key=lambda one: one.epochs)
    assert offer.seconds == offer.pick.duration.high and offer.probability >= 0.9


def test_asked_target_and_time_are_kept_as_they_are(found: list[Candidate]) -> None:
    offer = likeliest(found, 0.99)
    assert offer.target == 0.99 and offer.pick == max(found, key=lambda one: one.epochs)
    assert likeliest(found, 0.8).pick == surest(found, 0.8).pick
    offer = likeliest(found, 0.8, 90.0)
    assert (offer.target, offer.seconds) == (0.8, 90.0)
    assert offer.probability >= max(one.holds(0.8, 90.0) for one in found) - 0.01


def test_offer_becomes_a_choice_with_its_promise(found: list[Candidate]) -> None:
    offer = surest(found, 0.75)
    choice = offer.as_choice(found)
    assert (choice.pick, choice.target, choice.limit) == (offer.pick, 0.75, offer.seconds)
