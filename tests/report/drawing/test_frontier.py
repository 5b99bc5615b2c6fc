"""The picture of a plan."""

from xml.etree import ElementTree

from engine.report.drawing.frontier import Goal, Line, Place, draw


def _place(minutes: float, top1: float) -> Place:
    return Place(
        minutes=minutes,
        minutes_low=0.9 * minutes,
        minutes_high=1.1 * minutes,
        top1=top1,
        top1_low=top1 - 0.01,
        top1_high=top1 + 0.01,
    )


LINES = [
    Line(name="ours", measured=True, places=[_place(2, 0.7), _place(4, 0.75), _place(8, 0.78)]),
    Line(name="<theirs>", measured=False, places=[_place(5, 0.74), _place(60, 0.8)]),
    Line(name="single", measured=False, places=[_place(600, 0.81)]),
]


def test_published_lines_are_dashed_and_measured_ones_solid() -> None:
    picture = draw("Title", "note", LINES, Goal())
    ElementTree.fromstring(picture)
    assert "ours (measured here)" in picture and "&lt;theirs&gt; (published)" in picture
    assert picture.count('class="line published"') == 2
    assert picture.count("<circle") == 2


def test_goal_and_pick_are_named() -> None:
    goal = Goal(target=0.76, minutes=10, pick=_place(6, 0.765), name="ours, 6 epochs")
    picture = draw("Title", "note", LINES, goal)
    for words in ("target 76.0%", "limit 10 min", "ours, 6 epochs", "8 h"):
        assert words in picture


def test_single_run_alone_can_be_drawn() -> None:
    ElementTree.fromstring(draw("Title", "note", LINES[2:], Goal(minutes=0.5)))
