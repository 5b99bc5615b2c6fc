"""A choice as a table, as JSON and as a picture."""

import json
from xml.etree import ElementTree

from engine.knowledge.families import Family
from engine.plan.choice import plan_for
from engine.plan.pace.machine_pace import Pace
from engine.plan.plan_table import as_json, draw_frontier, minutes, plan_lines, table_rows


def test_table_marks_the_pick_between_its_neighbours(family: Family, pace: Pace) -> None:
    choice = plan_for(family, pace, target=0.8, seconds=150, price=2.0)
    rows = table_rows(choice)
    assert len(rows) == 3 and rows[1] == choice.pick
    lines = plan_lines(choice)
    assert lines[2].endswith("<-") and lines[2].startswith("shapes-tiny")
    words = "\n".join(lines)
    for part in (
        "pick       shapes-tiny",
        "why        the highest",
        "set-up 3.0 s",
        "our own measured runs",
        "cost 0.",
    ):
        assert part in words


def test_table_without_a_pick_says_what_would_fit(family: Family, pace: Pace) -> None:
    lines = plan_lines(plan_for(family, pace, target=0.8, seconds=30))
    assert any(line.startswith("nothing fits: ") for line in lines)
    assert any(line.startswith("more time: ") for line in lines)


def test_answers_are_said_to_be_the_intervals_ends(family: Family, pace: Pace) -> None:
    assert any(line.startswith("target     ") for line in plan_lines(plan_for(family, pace, seconds=150)))
    assert any(line.startswith("budget     ") for line in plan_lines(plan_for(family, pace, target=0.8)))


def test_json_holds_every_candidate(family: Family, pace: Pace) -> None:
    choice = plan_for(family, pace, target=0.8, seconds=150)
    found = json.loads(json.dumps(as_json(choice)))
    assert found["fits"] and found["pick"] in found["candidates"]
    assert len(found["candidates"]) == len(choice.found)
    assert sum(found["pick"]["parts"].values()) == found["pick"]["seconds"]
    assert found["asked"]["limit_seconds"] == 150
    assert json.loads(json.dumps(as_json(plan_for(family, pace, target=0.99))))["pick"] is None


def test_picture_is_well_formed_and_names_the_pick(family: Family, pace: Pace) -> None:
    choice = plan_for(family, pace, target=0.8, seconds=150)
    picture = draw_frontier(choice)
    ElementTree.fromstring(picture)
    assert choice.pick
    for words in (
        f"shapes-tiny, {choice.pick.epochs:g} epochs",
        "measured here",
        "target 80.0%",
        "limit 2 min 30 s",
    ):
        assert words in picture


def test_minutes_keep_the_digits_that_matter() -> None:
    assert [minutes(seconds) for seconds in (49, 906, 14880, 75480)] == ["0.82", "15.1", "248", "1,258"]
