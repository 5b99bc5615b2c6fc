"""The re-planner: for any pace the run ends within its budget, and the schedule at its end."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.train.schedule import LrConfig, ResolutionConfig
from engine.train.budget.pace import PaceModel
from engine.train.budget.replan import ALL, LAST, SHORTEST_REST, Costs, replan, seconds_left
from engine.train.budget.timeline import Timeline
from engine.train.schedules import lr_at, resolution_at

RESOLUTION = ResolutionConfig(min_res=20, max_res=28, start_ramp=0.2, end_ramp=0.65, multiple_of=4)
LR = LrConfig(lr=0.25, lr_peak_share=1 / 6)
IMAGES = 1000


def costs(rate: float = 1.0, validation: float = 2.0, finish: float = 1.0, later: float = 0.0) -> Costs:
    """An epoch of 10 s x (side / 20)^2, at `rate` times that time."""

    def epoch_at(position: float) -> float:
        return rate * 10 * (resolution_at(RESOLUTION, position, 6) / 20) ** 2

    return Costs(epoch_at=epoch_at, validation=validation, every=1, finish=finish, later=later)


def _paced(pace: PaceModel, factor: float) -> Callable[[float], float]:
    def epoch_at(position: float) -> float:
        return factor * IMAGES * pace.seconds_per_image(resolution_at(RESOLUTION, position, 6))

    return epoch_at


def test_run_in_time_is_left_alone() -> None:
    timeline = Timeline(6)
    left = seconds_left(timeline, 0, costs(), ALL)
    assert replan(timeline, 0, left + 1, costs(), ALL, margin=2) is None
    assert replan(timeline, 0, left - 1, costs(), ALL, margin=2) is None


def test_late_run_loses_validations_before_epochs() -> None:
    timeline = Timeline(6)
    left = seconds_left(timeline, 0, costs(), LAST)
    found = replan(timeline, 0, left, costs(), ALL, margin=1)
    assert found is not None and found.length == 6 and found.validations == LAST
    assert found.late_seconds == pytest.approx(5 * 2)


def test_slow_machine_shortens_the_run() -> None:
    timeline = Timeline(6)
    left = seconds_left(timeline, 1, costs(), LAST)
    found = replan(timeline, 1, left, costs(rate=2), LAST, margin=1)
    assert found is not None and 3 < found.length < 4
    after = seconds_left(timeline.changed(1, found.length), 1, costs(rate=2), LAST)
    assert after == pytest.approx(left, abs=0.6)


def test_fast_machine_lengthens_the_run() -> None:
    timeline = Timeline(6)
    left = seconds_left(timeline, 1, costs(), ALL)
    found = replan(timeline, 1, left, costs(rate=0.5), ALL, margin=1)
    assert found is not None and found.length > 9 and found.validations == ALL
    after = seconds_left(timeline.changed(1, found.length), 1, costs(rate=0.5), ALL)
    assert after <= left and left - after < 2 + 0.5 * 20


def test_no_time_left_still_ends_the_schedule() -> None:
    found = replan(Timeline(6), 2.5, -100, costs(), ALL, margin=1)
    assert found is not None and found.length == 2.5 + SHORTEST_REST
    assert Timeline(6).changed(2.5, found.length).schedule(found.length) == 1


def test_late_run_is_never_made_longer() -> None:
    # Less is left than the least: a run that is late for ever must not creep on.
    timeline = Timeline(6).changed(5.9, 5.91)
    assert replan(timeline, 5.9, -100, costs(), LAST, margin=1) is None


def test_later_stages_shrink_with_this_one() -> None:
    timeline = Timeline(6)
    planned = seconds_left(timeline, 0, costs(later=60), LAST)
    found = replan(timeline, 0, planned / 2, costs(later=60), LAST, margin=1)
    assert found is not None
    here = seconds_left(timeline.changed(0, found.length), 0, costs(), LAST)
    assert here + 60 * found.scale == pytest.approx(planned / 2, abs=1)
    # The next look takes the shorter later stages for granted.
    shorter = costs(later=60 * found.scale)
    assert replan(timeline.changed(0, found.length), 0, planned / 2, shorter, LAST, margin=1) is None


@settings(max_examples=25, deadline=None)
@given(
    slowness=st.lists(st.floats(0.2, 5), min_size=200, max_size=200),
    planned=st.booleans(),
    budget=st.floats(60, 300),
    validation=st.floats(0, 5),
)
def test_any_sequence_of_paces_ends_in_time(
    slowness: list[float], planned: bool, budget: float, validation: float
) -> None:
    """A simulated run on a machine whose speed changes as it likes, looked at 16 times in each epoch."""
    pace = PaceModel([(20, IMAGES / 10), (28, IMAGES / 19.6)] if planned else [])
    timeline, validations, clock, at, done, sides = Timeline(6), ALL, 0.0, 0.0, 0.0, [20]
    look, worst = 0, max(slowness)
    pace.note(20, 1, 1.0)
    rates = []
    while at < timeline.length - 1e-9:
        slow, step = slowness[look % len(slowness)], min(1 / 16, timeline.length - at)
        side, look = resolution_at(RESOLUTION, timeline.position(at), 6), look + 1
        assert side >= sides[-1], "the resolution never falls"
        sides.append(side)
        rates.append(lr_at(LR, timeline.position(at), 6))
        seconds = slow * 10 * (side / 20) ** 2 * step
        clock, at, done = clock + seconds, at + step, done + step
        pace.note(side, round(IMAGES * step) or 1, seconds)
        at = round(at * 16) / 16 if math.isclose(at * 16, round(at * 16)) else at
        if math.isclose(at, round(at)) and validations == ALL:
            clock += validation
        left = budget - clock
        factor = pace.factor(left)
        now = Costs(epoch_at=_paced(pace, factor), validation=validation, every=1)
        if at >= timeline.length - 1e-9 or pace.measured_seconds < 0.05 * budget:
            continue
        found = replan(timeline, at, left, now, validations, margin=0.02 * budget)
        if found is not None:
            timeline = timeline.changed(at, found.length)
            validations = found.validations
            expected = seconds_left(timeline, at, now, validations)
            share = factor * IMAGES * pace.seconds_per_image(28)
            assert expected <= left + 0.02 * budget or found.length <= at + SHORTEST_REST + 1e-9
            assert expected <= left + share, "never past the budget by more than an epoch"
    assert done == pytest.approx(timeline.length, abs=1e-6), "epochs add up"
    assert timeline.schedule(timeline.length) == 1
    # The learning rate comes to its end: what is left of it is that of the last step alone.
    assert lr_at(LR, timeline.position(timeline.length), 6) == pytest.approx(0, abs=1e-9)
    assert (
        clock + validation
        <= budget + 0.02 * budget + worst * 20 / 16 * 2 + 20 * worst * SHORTEST_REST + validation
    )


@given(factor=st.floats(0.3, 3))
def test_pace_of_a_steady_machine_is_found(factor: float) -> None:
    pace = PaceModel([(20, 100.0), (28, 51.0)])
    for _ in range(21):
        pace.note(20, 100, factor * 1.0)
    assert pace.factor(30) == pytest.approx(factor)
    assert pace.seconds_per_image(24) == pytest.approx((0.01 + 1 / 51) / 2, rel=0.05)
    assert pace.seconds_per_image(56) == pytest.approx(4 / 51)


def test_factor_counts_recent_seconds_more() -> None:
    pace = PaceModel([(20, 100.0)])
    for _ in range(51):
        pace.note(20, 100, 1.0)
    for _ in range(5):
        pace.note(20, 100, 2.0)
    assert pace.factor(10) == pytest.approx(2)
    # Over 20 s to come, the last 10 s count (1 + log 2) / 2, those before the rest; speeds are averaged.
    recent = (1 + math.log(2)) / 2
    assert pace.factor(20) == pytest.approx(1 / (recent / 2 + (1 - recent)))
    assert 1.05 < pace.factor(100) < 1.35
    assert PaceModel([]).measured_seconds == 0 and PaceModel([]).factor(10) == 1


def test_first_measurement_is_left_out() -> None:
    pace = PaceModel([])
    pace.note(20, 100, 50.0)
    assert pace.measured_seconds == 0
    pace.note(20, 100, 1.0)
    assert pace.measured_seconds == 1 and pace.seconds_per_image(20) == 0.01 and pace.rate() == 100
