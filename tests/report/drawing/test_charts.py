"""Scales, ticks and SVG parts: round numbers, nothing outside the drawing, hostile text made harmless."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from engine.report.drawing import charts
from engine.report.drawing.charts import Frame

FRAME = Frame(width=400, height=200, x_low=0, x_high=10, y_low=0, y_high=1)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.26, 0.735), (0, 1.7), (0, 23456), (160, 256), (0.5, 0.5), (0, 0), (-3, 4e-5)]
)
def test_ticks_are_evenly_spaced_and_span_the_values(low: float, high: float) -> None:
    ticks = charts.nice_ticks(low, high, 5)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9
    steps = [after - before for before, after in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 5), (1, 16), (1, 88), (1, 600), (3, 7), (41, 88)])
def test_epoch_ticks_are_few_integers_with_both_ends(low: int, high: int) -> None:
    ticks = charts.whole_ticks(low, high, 9)
    assert ticks[0] == low
    assert ticks[-1] == high
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 13


def test_extreme_values_map_to_frame_edges() -> None:
    assert FRAME.x(0) == FRAME.left
    assert FRAME.x(10) == FRAME.edge
    assert FRAME.y(0) == FRAME.floor
    assert FRAME.y(1) == FRAME.top


def test_axis_without_extent_does_not_divide_by_zero() -> None:
    flat = Frame(width=400, height=200, x_low=3, x_high=3, y_low=0.5, y_high=0.5)
    assert (flat.x(3), flat.y(0.5)) == (flat.left, flat.floor)


def test_line_passes_through_all_points() -> None:
    path = charts.line(FRAME, [(0, 0), (10, 1)], "first")
    assert re.findall(r"[\d.]+ [\d.]+", path) == ["46.0 158.0", "386.0 26.0"]
    assert charts.line(FRAME, [], "first") == ""


def test_stacked_pieces_touch_and_fill_their_height() -> None:
    bar = ElementTree.fromstring(charts.stacked_bar(FRAME, 1, 2, [(0.25, "a"), (0.0, "b"), (0.5, "c")], "x"))
    low, high = bar.findall("rect")
    assert float(low.attrib["y"]) + float(low.attrib["height"]) == pytest.approx(FRAME.floor, abs=0.1)
    assert float(high.attrib["y"]) + float(high.attrib["height"]) == pytest.approx(
        float(low.attrib["y"]), abs=0.2
    )
    assert float(high.attrib["y"]) == pytest.approx(FRAME.y(0.75), abs=0.1)


def test_readings_cover_the_plot_without_gaps() -> None:
    groups = [
        ElementTree.fromstring(group) for group in charts.readings(FRAME, [(1, "a"), (4, "b"), (9, "c")])
    ]
    rects = [group.find("rect") for group in groups]
    edge = float(FRAME.left)
    for rect in rects:
        assert rect is not None
        assert float(rect.attrib["x"]) == pytest.approx(edge, abs=0.15)
        edge = float(rect.attrib["x"]) + float(rect.attrib["width"])
    assert edge == pytest.approx(FRAME.edge, abs=0.15)


def test_chart_has_accessible_title_and_description() -> None:
    drawn = charts.svg(FRAME, "key", "A title", "What it shows.", [])
    svg = ElementTree.fromstring(drawn)
    assert svg.attrib["role"] == "img"
    ids = svg.attrib["aria-labelledby"].split()
    assert [(part.tag, part.text) for part in svg if part.attrib["id"] in ids] == [
        ("title", "A title"),
        ("desc", "What it shows."),
    ]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a\" onload='x", "]]>&amp;", "\x00\x1b[31m\ud800\uffff"]
)
def test_text_with_markup_is_escaped(text: str) -> None:
    svg = ElementTree.fromstring(charts.svg(FRAME, "k", text, text, [charts.label(1, 1, text, "tick")]))
    assert {part.tag for part in svg.iter()} == {"svg", "title", "desc", "text"}
    assert all(not name.startswith("on") for part in svg.iter() for name in part.attrib)
    assert "".join(svg.itertext()).count(charts.clean("x")) == text.count("x") * 3
