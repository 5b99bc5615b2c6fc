"""Expected accuracy and spread at a point of the schedule."""

from dataclasses import replace

import pytest

from engine.knowledge.families import FAMILIES, Curve, find_family
from engine.knowledge.spread import LEAST_SD, expected_at


def test_published_curve_is_interpolated_and_widened() -> None:
    assert expected_at("mosaic-mild", 3 / 28.8) == pytest.approx((0.327, (0.006**2 + 0.0022**2) ** 0.5))
    assert expected_at("mosaic-mild", 1) == pytest.approx((0.7612, (0.0009**2 + 0.0022**2) ** 0.5))
    mean, sd = expected_at("lars-mlperf", 5 / 37) or (0, 0)
    assert mean == pytest.approx(0.3695) and sd > 0.02


def test_spread_that_is_not_published_lies_between_its_neighbours() -> None:
    mean, sd = expected_at("mosaic-mild", 18 / 28.8) or (0, 0)
    assert mean == pytest.approx(0.702)
    assert (0.0009**2 + 0.0022**2) ** 0.5 < sd < (0.003**2 + 0.0022**2) ** 0.5


@pytest.mark.parametrize(
    ("family", "schedule"), [("nothing", 0.5), ("", 0.5), ("rn50-ffcv", 0.5), ("mosaic-mild", 0.05)]
)
def test_unknown_family_curve_or_place_has_no_expectation(family: str, schedule: float) -> None:
    assert expected_at(family, schedule) is None


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lengths with two seeds each."""
    values = {2: ((0.4, 0.6), (0.44, 0.64)), 8: ((0.2, 0.5, 0.6, 0.8), (0.2, 0.5, 0.62, 0.82))}
    curves = tuple(
        Curve(
            epochs=epochs,
            runs=1,
            points=tuple((epochs * (at + 1) / len(curve), top1, None) for at, top1 in enumerate(curve)),
            source="s",
        )
        for epochs, each in values.items()
        for curve in each
    )
    family = replace(find_family("flax"), name="ours", measured=True, curves=curves)
    monkeypatch.setitem(FAMILIES, "ours", family)


@pytest.mark.usefixtures("_measured")
def test_measured_mean_is_interpolated_between_lengths() -> None:
    assert expected_at("ours", 1, 2) == pytest.approx((0.62, 0.02**0.5 * 0.12**0.5), abs=0.03)
    assert (expected_at("ours", 1, 8) or (0, 0))[0] == pytest.approx(0.81)
    assert (expected_at("ours", 1, 4) or (0, 0))[0] == pytest.approx((0.62 + 0.81) / 2)


@pytest.mark.usefixtures("_measured")
def test_measured_spread_is_pooled_and_has_a_floor() -> None:
    # Seeds differ by 0.04 and 0.02: variances 0.0008 and 0.0002.
    assert (expected_at("ours", 1, 4) or (0, 0))[1] == pytest.approx(0.0005**0.5)
    assert (expected_at("ours", 0.25, 8) or (0, 0))[1] == LEAST_SD
    # Between two epochs the rise counts: where the curve runs there is not known.
    assert (expected_at("ours", 0.375, 8) or (0, 0))[1] > 0.05


@pytest.mark.usefixtures("_measured")
def test_measured_length_outside_the_known_ones_has_no_expectation() -> None:
    assert expected_at("ours", 1, 9) is None and expected_at("ours", 1, 1.5) is None
    assert expected_at("ours", 0.25, 4) is None, "only the longer runs were validated so early"
    mean, sd = expected_at("ours", 1) or (0, 0)
    assert mean == pytest.approx((0.62 + 0.81) / 2) and sd > 0.09
