"""The leaderboard's pictures: well formed, every point inside, ours and others' told apart."""

import re
from xml.etree import ElementTree

import pytest

from engine.knowledge.families import FAMILIES
from engine.report.leaderboard.leaderboard_entries import Entry, published_entries
from engine.report.leaderboard.leaderboard_page import render
from engine.report.leaderboard.leaderboard_picture import PHONE, WIDE, legend_of, panels, picture

PUBLISHED = published_entries(FAMILIES.values())


def _ours(top1: float, seconds: float | None, cost: float | None = None, runs: int = 1) -> Entry:
    return Entry(
        published=False,
        data="ImageNet-1k",
        network="resnet50",
        name=f"our <recipe> {top1}",
        machine="8 × NVIDIA H200",
        top1=top1,
        top1_sd=0.001 if runs > 1 else None,
        runs=runs,
        seconds=seconds,
        cost=cost,
    )


OURS = [_ours(0.74, 700.0, 6.5, runs=3), _ours(0.77, 1800.0), _ours(0.78, None)]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def test_picture_is_well_formed_and_marks_whose_points_they_are() -> None:
    root = ElementTree.fromstring(picture([*OURS, *PUBLISHED]))
    marks = [element.get("class") or "" for element in root.iter("{http://www.w3.org/2000/svg}path")]
    # One more of each in the legend; the first chart has two of ours, the one of cost another.
    assert sum(css == "dots measured" for css in marks) == 2 + 1 + 1
    assert sum(css == "diamond published" for css in marks) == len(PUBLISHED) + 1
    titles = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title"))
    assert (
        "our <recipe> 0.74 on 8 × NVIDIA H200: 74.00% ± 0.10 after 11 min 40 s (measured, 3 runs)" in titles
    )
    assert "ffcv-imagenet, ResNet-50 on 8xA100-40GB: 73.80% after 14 min 54 s (published)" in titles


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=lambda size: size.name)
def test_names_stay_inside_the_chart(size: object) -> None:
    for _, _, panel in panels([*OURS, *PUBLISHED], WIDE if size is WIDE else PHONE):
        names = [part for part in panel.parts if part.startswith('<text class="name-')]
        assert names
        for name in names:
            x, y = _numbers(name)[:2]
            assert 0 <= x <= panel.frame.width and 0 <= y <= panel.frame.floor


def test_cost_is_drawn_only_where_known() -> None:
    assert [axis.key for _, axis, _ in panels(OURS, WIDE)] == ["time", "cost"]
    assert [axis.key for _, axis, _ in panels(PUBLISHED, WIDE)] == ["time"]
    assert panels([_ours(0.5, None)], WIDE) == []


def test_single_point_and_equal_points_are_drawn() -> None:
    for entries in ([OURS[0]], [OURS[0]] * 3, [_ours(1.0, 0.5), _ours(0.0, 9e6)]):
        ElementTree.fromstring(picture(entries))


def test_page_has_pictures_tables_and_the_rules() -> None:
    page = render([*OURS, *PUBLISHED])
    assert page.count('<svg class="chart') == 4
    assert "our &lt;recipe&gt; 0.74" in page and "our <recipe>" not in page
    assert "None of these figures was measured by this project" in page and "docs/leaderboard.md" in page
    assert "<script" not in page
    assert "published by others" not in render(OURS)


def test_lengths_of_a_recipe_are_joined_and_named_by_their_epochs() -> None:
    values = {"published": False, "data": "A", "network": "n", "name": "r", "machine": "m"}
    entries = [
        Entry(**values, top1=0.6 + n / 100, seconds=60.0 * n, epochs=float(n), runs=2, top1_sd=0.05)  # type: ignore[arg-type]
        for n in (1, 2, 4)
    ]
    ((_, _, panel),) = panels(entries, WIDE)
    drawn = "".join(panel.parts)
    assert drawn.count('class="line measured faint"') == 1
    assert "r, 4 epochs" in drawn and "r, 1 epoch<" in drawn
    # The bars of a standard deviation stay inside.
    assert panel.frame.y_low <= 0.61 - 0.05 and panel.frame.y_high >= 0.64 + 0.05
    assert legend_of(entries) == [("measured point", "measured by this project")]
