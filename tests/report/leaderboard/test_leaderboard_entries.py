"""Entries of the leaderboard: repeats together, ours and others' apart, the order, the frontier."""

from pathlib import Path
from typing import Any

import pytest

from engine.knowledge.families import FAMILIES, Family, Point
from engine.report.leaderboard.leaderboard_entries import (
    Entry,
    in_order,
    measured_entries,
    on_the_frontier,
    published_entries,
)
from engine.report.leaderboard.leaderboard_table import by_data, html_table, terminal_tables
from engine.report.leaderboard.record_search import find_records
from tests.report.leaderboard.boards import put, run_of
from tests.report.runs import demo_log


def _entries(folder: Path) -> list[Entry]:
    return measured_entries(find_records([folder]).records)


def _entry(top1: float, seconds: float | None, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "published": False,
        "data": "CIFAR-10",
        "network": "small_resnet",
        "name": f"r{top1}",
        "machine": "2 cores",
    }
    return Entry(top1=top1, seconds=seconds, **{**values, **changes})


def test_runs_that_differ_in_their_seed_are_one_entry(tmp_path: Path) -> None:
    for seed, top1 in enumerate((0.74, 0.742, 0.744)):
        lines = run_of(top1, 1000.0 + seed, time_to_target_seconds=900.0 + seed)
        put(tmp_path / str(seed), lines, training={"seed": seed})
    put(tmp_path / "longer", run_of(0.75, 2000.0), training={"epochs": 32})
    first, second = _entries(tmp_path)
    assert first.runs == 3
    assert first.top1 == pytest.approx(0.742) and first.seconds == pytest.approx(1001.0)
    assert first.top1_sd == pytest.approx(0.002) and first.to_target_seconds == pytest.approx(901.0)
    assert (second.runs, second.top1_sd) == (1, None)


def test_time_to_target_needs_each_run_to_reach_it(tmp_path: Path) -> None:
    put(tmp_path / "a", run_of(0.74, 1000.0, time_to_target_seconds=900.0))
    put(tmp_path / "b", run_of(0.73, 1001.0, met=False), training={"seed": 1})
    (entry,) = _entries(tmp_path)
    assert (entry.runs, entry.reached, entry.to_target_seconds) == (2, 1, None)
    assert "73.50% reached by 1" in terminal_tables([entry])


def test_published_points_with_minutes_are_listed_ours_are_not() -> None:
    values: dict[str, Any] = {
        "name": "f",
        "title": "F",
        "network": "resnet50",
        "data": "ImageNet-1k",
        "recipe": "",
        "source": "them",
        "num_train": 1,
        "num_val": 1,
    }
    points = (
        Point(epochs=16.0, top1=0.7, minutes=2.0, source="a paper"),
        Point(epochs=16.0, top1=0.71, source=""),
    )
    theirs, ours = (Family(points=points, measured=measured, **values) for measured in (False, True))
    (entry,) = published_entries([theirs, ours])
    assert (entry.published, entry.seconds, entry.top1, entry.source) == (True, 120.0, 0.7, "a paper")


def test_every_published_family_gives_valid_entries() -> None:
    entries = published_entries(FAMILIES.values())
    assert len(entries) > 20
    assert all(entry.published and entry.source and 0 < entry.top1 < 1 for entry in entries)
    assert [entry.seconds for entry in entries] == sorted(entry.seconds or 0.0 for entry in entries)


def test_order_is_data_then_time_then_accuracy() -> None:
    unknown, slow, fast, better = _entry(0.9, None), _entry(0.8, 9.0), _entry(0.5, 3.0), _entry(0.6, 3.0)
    other = _entry(0.1, 99.0, data="A")
    timed = _entry(0.7, 50.0, to_target_seconds=2.0)
    assert in_order([unknown, slow, fast, timed, better, other]) == [
        other,
        timed,
        better,
        fast,
        slow,
        unknown,
    ]


def test_frontier_has_no_entry_that_is_beaten() -> None:
    entries = [_entry(0.5, 1.0), _entry(0.6, 2.0), _entry(0.55, 3.0), _entry(0.6, 4.0), _entry(0.99, None)]
    assert on_the_frontier(entries) == {0, 1}
    assert on_the_frontier([_entry(0.5, 1.0), _entry(0.5, 1.0)]) == {0, 1}
    assert on_the_frontier([_entry(0.5, 1.0), _entry(0.4, 2.0, data="A")]) == {0, 1}
    assert on_the_frontier([_entry(0.5, 1.0, started_from="weights.pt"), _entry(0.4, 2.0)]) == {1}


def test_tables_keep_published_points_apart() -> None:
    entries = [_entry(0.9, 60.0), _entry(0.8, 30.0, published=True, source="a <paper>")]
    assert [(whose[:9], len(having)) for _, whose, having in by_data(entries)] == [
        ("measured ", 1),
        ("published", 1),
    ]
    text = terminal_tables(entries)
    assert text.index("CIFAR-10, measured by this project") < text.index("CIFAR-10, published by others")
    assert "cost" not in text, "a column that no entry has anything for is left out"
    assert 'title="a &lt;paper&gt;"' in html_table(entries)
    assert terminal_tables([]) == ""


def test_run_of_a_family_is_on_the_family_s_data(tmp_path: Path) -> None:
    for name, family in (("a", "fashion-small"), ("b", None), ("c", "cifar10-small")):
        lines = demo_log(time=f"2026-11-21T13:00:0{'abc'.index(name)}+00:00")
        lines[0] |= {"family": family}
        put(tmp_path / name, lines, training={"epochs": 5 + "abc".index(name)})
    found = {entry.data for entry in _entries(tmp_path)}
    # 60,000 images are not CIFAR-10's, whatever the family.
    assert found == {"Fashion-MNIST", "train + val"}
