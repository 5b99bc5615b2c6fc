"""The position in the schedule of a run whose length was changed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.train.training import timeline_changes
from engine.errors import UserError
from engine.train.budget.timeline import Timeline


def test_timeline_without_changes_is_the_recipe() -> None:
    timeline = Timeline.parse("", 6)
    assert timeline.length == 6 and timeline.count == 6 and str(timeline) == ""
    assert [timeline.position(epoch) for epoch in (0, 1.25, 5)] == [0, 1.25, 5]
    assert [timeline.share_of(epoch) for epoch in range(6)] == [1] * 6


def test_shorter_timeline_ends_at_the_schedules_end() -> None:
    timeline = Timeline.parse("0:3", 6)
    assert timeline.position(1.5) == 3 and timeline.schedule(3) == 1 and timeline.count == 3
    assert Timeline.parse("0:2.4", 6).share_of(2) == pytest.approx(0.4)


def test_change_keeps_what_is_done_and_stretches_the_rest() -> None:
    timeline = Timeline.parse("2:10", 6)
    assert timeline.position(2) == 2
    # Four epochs of the schedule are left, for eight epochs of training.
    assert timeline.position(4) == 3 and timeline.position(10) == 6


_LENGTHS = st.floats(0.02, 20)


@given(epochs=st.integers(1, 20), rests=st.lists(st.tuples(st.floats(0.05, 0.95), _LENGTHS), max_size=6))
def test_position_never_falls_and_ends_at_the_end(epochs: int, rests: list[tuple[float, float]]) -> None:
    timeline = Timeline.parse("", epochs)
    for share, rest in rests:
        before = timeline.changes[-1].at if timeline.changes else 0.0
        at = before + share * (timeline.length - before)
        now = timeline.position(at)
        timeline = timeline.changed(at, at + rest)
        assert timeline.position(timeline.changes[-1].at) == pytest.approx(now, abs=1e-6 * epochs)
    points = [timeline.length * index / 50 for index in range(51)]
    positions = [timeline.position(point) for point in points]
    assert all(after >= before for before, after in pairwise(positions))
    assert positions[0] == 0 and positions[-1] == pytest.approx(epochs)
    # Read back from its text it is the same, to the bit.
    assert Timeline.parse(str(timeline), epochs) == timeline
    assert sum(timeline.share_of(epoch) for epoch in range(timeline.count)) == pytest.approx(
        timeline.length, abs=1e-5
    )


@pytest.mark.parametrize("text", ["5", "1:", "a:3", "3:2", "0:inf", "-1:4", "2:nan"])
def test_unreadable_timeline_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"training\.timeline: can't read"):
        timeline_changes(text)


@pytest.mark.parametrize("text", ["2:5, 1:6", "0:3, 3:5", "1:4, 1:5"])
def test_changes_out_of_order_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="does not come between"):
        timeline_changes(text)


def test_geometric_length_is_less_for_an_uneven_schedule() -> None:
    assert Timeline(8).geometric_length() == pytest.approx(8)
    assert Timeline.parse("0:2.5", 8).geometric_length() == pytest.approx(2.5)
    # Half of the schedule at 4 epochs a schedule, the other half at 1.
    assert Timeline.parse("0:4, 2:2.5", 8).geometric_length() == pytest.approx(2)
    # A change that changes nothing.
    assert Timeline.parse("0:4, 1:4", 8).geometric_length() == pytest.approx(4)
