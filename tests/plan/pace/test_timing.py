"""How far a measurement's blocks differ."""

import pytest

from engine.plan.pace.timing import spread


def test_steady_blocks_have_no_spread() -> None:
    assert spread([(100, 1.0)] * 8) == 0


def test_noise_counts_as_its_mean_does() -> None:
    blocks = [(100 + 10 * (-1) ** number, 1.0) for number in range(100)]
    assert spread(blocks) == pytest.approx(0.01, rel=0.02)


def test_drift_counts_as_half_of_it() -> None:
    """100 images/s, then 80: the next minute may be like either."""
    assert spread([(100, 1.0)] * 50 + [(80, 1.0)] * 50) == pytest.approx(10 / 90)


def test_few_blocks_are_not_taken_for_steady() -> None:
    assert spread([(100, 1.0)] * 3) > 0.05
