"""Every family: its figures make sense, its recipe exists, and predictions stay within what is known."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.load import load_train_stages
from engine.errors import UserError
from engine.knowledge.back_test import leave_one_out
from engine.knowledge.families import FAMILIES, Family, Point, find_family

NAMES = sorted(FAMILIES)
FITTED = [name for name in NAMES if len({point.epochs for point in FAMILIES[name].points}) > 1]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_source_and_makes_sense(name: str) -> None:
    family = find_family(name)
    assert family.name == name and family.title and family.network and family.data and family.source
    for point in (*family.points, *family.unfitted):
        assert point.source and 0.3 < point.top1 < 1 and 0 < point.epochs <= 600
        assert point.sd is None or 0 < point.sd < 0.01
        assert point.minutes is None or 0.5 < point.minutes < 10_000
    for curve in family.curves:
        epochs = [epoch for epoch, _, _ in curve.points]
        assert curve.source and epochs == sorted(epochs) and epochs[-1] <= curve.epochs
    assert family.measured == all("measured" in point.source for point in family.points)


@pytest.mark.parametrize("name", [name for name in NAMES if FAMILIES[name].recipe])
def test_recipe_of_a_family_exists_and_is_as_long(repository: Path, name: str) -> None:
    family = find_family(name)
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    stages, _ = load_train_stages(["-C", str(repository / family.recipe), *data])
    assert {stage.model.arch for stage in stages} == {family.network}
    low, high = family.range()
    assert family.measured or low <= sum(stage.training.epochs for stage in stages) <= high


def test_recipes_name_existing_families(repository: Path) -> None:
    data = ["--data.train_dataset=t.beton", "--data.val_dataset=v.beton"]
    named = {}
    for path in sorted(repository.glob("*_configs/*.yaml")):
        stages, _ = load_train_stages(["-C", str(path), *data])
        named[path.stem] = stages[0].plan.family
    assert {name for name in named.values() if name} <= set(FAMILIES)
    ffcv = {name: family for name, family in named.items() if name[:4] in ("rn50", "rn18")}
    assert len(ffcv) == 12 and all(family == f"{name[:4]}-ffcv" for name, family in ffcv.items())
    expected = {
        "demo": "fashion-small",
        "small_2_cores": "cifar10-small",
        "mosaic_mild": "mosaic-mild",
        "mosaic_hot": "",
    }
    expected |= dict.fromkeys(("rsb_a1", "rsb_a2", "rsb_a3"), "rsb")
    assert expected.items() <= named.items()


@pytest.mark.parametrize("name", FITTED)
def test_prediction_is_near_the_points_and_rises_with_length(name: str) -> None:
    family = find_family(name)
    low, high = family.range()
    for point in family.points:
        found = family.predict(point.epochs)
        assert found.low < point.top1 < found.high and found.sd > 0
    between = [family.predict(low + (high - low) * part / 10).top1 for part in range(11)]
    assert between == sorted(between)


@pytest.mark.parametrize("name", NAMES)
def test_length_outside_the_range_is_refused(name: str) -> None:
    family = find_family(name)
    low, high = family.range()
    for epochs in (low * 0.9, high * 1.1):
        with pytest.raises(UserError, match=f"{name} covers {low:g}"):
            family.predict(epochs)
    assert family.predict(high * 1.005).top1 == pytest.approx(family.predict(high).top1, abs=0.001)


def test_rn50_interval_is_about_half_a_point() -> None:
    found = find_family("rn50-ffcv").predict(30)
    assert 0.755 < found.top1 < 0.770
    assert 0.003 < found.high - found.top1 < 0.007
    assert found.high - found.top1 == pytest.approx(found.top1 - found.low)


def test_epochs_for_is_the_inverse_of_predict() -> None:
    family = find_family("rn50-ffcv")
    for epochs in (16.5, 30, 87):
        assert family.epochs_for(family.predict(epochs).top1) == pytest.approx(epochs, rel=1e-6)
    assert family.epochs_for(0.5) == 16
    with pytest.raises(
        UserError, match=r"reaches 78\.\d+% in 88 epochs, the most that it covers, not 80\.00%"
    ):
        family.epochs_for(0.8)


def test_probability_falls_with_the_target() -> None:
    family = find_family("rn50-ffcv")
    middle = family.predict(32).top1
    chances = [family.probability(32, middle + points / 100) for points in (-1, 0, 1)]
    assert chances[1] == pytest.approx(0.5) and chances[0] > 0.98 and chances[2] < 0.02


def test_unknown_family_names_one_like_it() -> None:
    with pytest.raises(UserError, match=r"no family 'rn50_ffcv' \(did you mean 'rn50-ffcv'\?\)"):
        find_family("rn50_ffcv")


def test_back_test_leaves_out_all_runs_of_a_length() -> None:
    family = find_family("rn50-ffcv")
    tests = leave_one_out(family)
    assert [test.point.epochs for test in tests] == [16, 24, 32, 40, 56, 88]
    assert [test.covered for test in tests] == [False, True, True, True, True, False]
    assert all(abs(test.error) < 0.0025 and test.inside_elsewhere for test in tests if test.covered)
    # Twins of the left-out length would pull the prediction to themselves.
    twins = replace(family, points=(*family.points, replace(family.points[2], top1=0.70)))
    assert leave_one_out(twins)[2].predicted == tests[2].predicted
    assert leave_one_out(find_family("flax")) == []


def test_seed_spread_of_measured_runs_is_pooled() -> None:
    points = tuple(
        Point(epochs=epochs, top1=top1, source="measured")
        for epochs, top1 in ((2, 0.60), (2, 0.62), (3, 0.70), (3, 0.72), (4, 0.75))
    )
    family = replace(find_family("flax"), measured=True, seed_sd=None, points=points)
    assert isinstance(family, Family)
    assert family.spread == pytest.approx(0.01 * 2**0.5)
