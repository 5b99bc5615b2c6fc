"""Published paces against the published minutes that they are made from."""

import pytest

from engine.knowledge.families import find_family
from engine.knowledge.machines import find_machine
from engine.plan.candidates import family_recipe, sides_of
from engine.plan.duration import run_duration, stretched
from engine.plan.pace.published_pace import UNKNOWN_ERROR, UNKNOWN_SLOWDOWN, published_pace, slowdown_of


@pytest.mark.parametrize("name", ["rn50-ffcv", "rn18-ffcv"])
def test_published_minutes_are_within_two_percent(name: str) -> None:
    family = find_family(name)
    recipe = family_recipe(family)
    sides = sides_of(recipe, family.num_train)
    for point in family.points:
        pace = published_pace(family, recipe, find_machine(point.hardware), sides)
        found = run_duration(stretched(recipe, point.epochs), pace, family.num_train)
        assert point.minutes
        assert found.seconds == pytest.approx(point.minutes * 60, rel=0.025)
        assert found.low < point.minutes * 60 < found.high


def test_mosaics_minutes_lie_in_its_interval() -> None:
    family = find_family("mosaic-mild")
    recipe = family_recipe(family)
    sides = sides_of(recipe, family.num_train)
    assert 1.3 < slowdown_of(family, recipe, sides).factor < 1.6
    for point in family.points:
        pace = published_pace(family, recipe, find_machine(point.hardware), sides)
        found = run_duration(stretched(recipe, round(point.epochs)), pace, family.num_train)
        assert point.minutes
        assert found.low < point.minutes * 60 < found.high


def test_family_without_usable_minutes_is_unsure() -> None:
    family = find_family("torchvision-v2")
    recipe = family_recipe(family)
    found = slowdown_of(family, recipe, sides_of(recipe, family.num_train))
    assert (found.factor, found.error) == (UNKNOWN_SLOWDOWN, UNKNOWN_ERROR)


def test_published_pace_says_that_it_is_published() -> None:
    family = find_family("rn50-ffcv")
    recipe = family_recipe(family)
    pace = published_pace(family, recipe, find_machine("1xH200"), [160, 192])
    assert not pace.measured
    assert pace.basis.startswith("published, not measured here; A100-40GB's speeds x 2.38")
    assert pace.error > 0.25
