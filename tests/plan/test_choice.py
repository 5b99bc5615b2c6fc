"""Any of target, time and cost given, the rest is answered; where nothing fits, what would."""

import random
from dataclasses import replace

import pytest

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.knowledge.families import Family
from engine.plan.candidates import Candidate, candidates
from engine.plan.choice import SURE, Request, choose, fits, likelihood, plan_for
from engine.plan.pace.machine_pace import Pace

PRICE = 3600.0
"""A second costs 1."""


@pytest.fixture(scope="module")
def found(family: Family, recipe: TrainConfig, pace: Pace) -> list[Candidate]:
    return candidates(family, recipe, pace, PRICE)


@pytest.mark.parametrize("seed", range(20))
def test_pick_has_the_highest_joint_probability(found: list[Candidate], seed: int) -> None:
    draw = random.Random(seed)
    request = Request(target=draw.uniform(0.7, 0.86), seconds=draw.uniform(20, 130))
    choice = choose(found, request)
    fitting = [one for one in found if fits(one, request)]
    assert (choice.pick is None) == (not fitting)
    if choice.pick:
        best = max(one.holds(request.target, request.seconds) for one in fitting)
        assert choice.probability >= best - 0.005
        alike = [one for one in fitting if one.holds(request.target, request.seconds) >= best - 0.005]
        assert choice.pick.duration.seconds == min(one.duration.seconds for one in alike)
    else:
        assert choice.advice


@pytest.mark.parametrize("seed", range(20))
def test_cost_and_time_limits_are_the_same(found: list[Candidate], seed: int) -> None:
    """A limit of cost is a limit of time at the price; with both, the tighter one counts."""
    draw = random.Random(seed)
    target, seconds = draw.uniform(0.7, 0.84), draw.uniform(20, 130)
    by_time = choose(found, Request(target=target, seconds=seconds, price=PRICE))
    by_cost = choose(found, Request(target=target, cost=seconds, price=PRICE))
    by_both = choose(found, Request(target=target, seconds=2 * seconds, cost=seconds, price=PRICE))
    assert by_time.pick == by_cost.pick == by_both.pick
    assert by_time.limit == pytest.approx(by_cost.limit)
    if by_time.pick:
        assert by_time.pick.cost == pytest.approx(by_time.pick.duration.seconds)


@pytest.mark.parametrize("seed", range(20))
def test_answered_target_can_be_asked_for(found: list[Candidate], seed: int) -> None:
    """The target that a time limit is answered with is met when it is asked for in the same time."""
    seconds = random.Random(seed).uniform(40, 150)
    answered = choose(found, Request(seconds=seconds))
    assert answered.pick
    assert answered.pick.time_holds(seconds) >= SURE
    assert answered.target <= answered.pick.prediction.low
    again = choose(found, Request(target=answered.target, seconds=seconds))
    assert again.pick
    assert again.probability >= answered.pick.holds(answered.target, seconds) - 0.005 > 0.8


@pytest.mark.parametrize("seed", range(20))
def test_answered_time_can_be_asked_for(found: list[Candidate], seed: int) -> None:
    target = random.Random(seed).uniform(0.7, 0.83)
    answered = choose(found, Request(target=target))
    assert answered.pick
    assert answered.pick.accuracy_holds(target) >= SURE
    assert answered.limit == pytest.approx(answered.pick.duration.high)
    again = choose(found, Request(target=target, seconds=answered.limit))
    assert again.pick
    assert again.probability >= answered.pick.holds(target, answered.limit) - 0.005 > 0.8


def test_target_that_none_reaches_says_fewer_points(found: list[Candidate]) -> None:
    choice = choose(found, Request(target=0.99, seconds=100))
    assert choice.pick is None and choice.probability == 0
    assert choice.advice[0].startswith("fewer points: 8")


def test_time_too_short_says_more_time_and_speed(found: list[Candidate]) -> None:
    choice = choose(found, Request(target=0.8, seconds=30))
    words = "\n".join(choice.advice)
    assert choice.pick is None
    assert "more time: shapes-tiny reaches 80.00% in 5" in words
    assert "fewer points: shapes-tiny reaches" in words
    assert "times as fast" in words


def test_starved_step_says_another_storage(family: Family, recipe: TrainConfig, pace: Pace) -> None:
    starved = replace(pace, sides=tuple(replace(side, decode=2.0) for side in pace.sides))
    choice = choose(candidates(family, recipe, starved), Request(target=0.8, seconds=30))
    assert any("another storage: decode limits at 2 images/s" in line for line in choice.advice)


def test_time_shorter_than_every_run_is_said(found: list[Candidate]) -> None:
    choice = choose(found, Request(seconds=5))
    assert choice.pick is None
    assert choice.advice[0].startswith("more time: the shortest run, 2 epochs of shapes-tiny, takes")


def test_plan_for_is_a_choice_within_one_family(family: Family, pace: Pace) -> None:
    choice = plan_for(family, pace, target=0.8, seconds=120, price=2.0)
    assert choice.pick and choice.pick.price == 2.0
    assert plan_for(family, pace, seconds=120).pick


@pytest.mark.parametrize(
    ("asked", "message"),
    [({}, "nothing is asked for"), ({"target": 0.8, "cost": 3.0}, "--cost needs --price")],
)
def test_senseless_request_is_refused(asked: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Request(**asked)


def test_no_candidates_are_refused() -> None:
    with pytest.raises(UserError, match="--families"):
        choose([], Request(target=0.8))


@pytest.mark.parametrize(("value", "words"), [(1.0, ">99%"), (0.883, "88%"), (0.001, "<1%")])
def test_likelihood_never_says_certain(value: float, words: str) -> None:
    assert likelihood(value) == words
