"""The law of error by epochs: exact curves are found again, bounds hold, intervals hold new runs."""

from collections.abc import Mapping

import numpy as np
import pytest

from engine.errors import UserError
from engine.knowledge.law import Law, Observation, fit


def law_through(points: Mapping[int, float], sd: float = 0.001, prior: float = 4) -> Law:
    observed = [Observation(epochs=at, error=error, variance=sd**2) for at, error in points.items()]
    return fit(observed, prior)


def test_exact_power_law_is_found_again() -> None:
    law = law_through({epochs: 0.2 + 0.9 * epochs**-0.9 for epochs in (16, 24, 32, 40, 56, 88)})
    assert (law.floor, law.factor, law.power) == pytest.approx((0.2, 0.9, 0.9), rel=0.01)
    assert law.rms < 1e-5 and law.free == (0, 1, 2)
    assert law.error(48) == pytest.approx(0.2 + 0.9 * 48**-0.9, abs=1e-5)


def test_two_or_three_lengths_fix_the_power() -> None:
    law = law_through({100: 0.22, 300: 0.20, 600: 0.195})
    assert law.power == 0.8 and law.free == (0, 1) and law.words.endswith("power not fitted")
    two = law_through({45: 0.244, 90: 0.234})
    assert (two.error(45), two.error(90)) == pytest.approx((0.244, 0.234))


def test_one_length_is_its_mean() -> None:
    observed = [Observation(epochs=30, error=error, variance=1e-6) for error in (0.23, 0.25)]
    law = fit(observed, 4)
    assert law.error(30) == pytest.approx(0.24) and "no fit" in law.words


def test_floor_and_factor_never_fall_below_zero() -> None:
    falling = law_through({epochs: 2 * epochs**-0.5 - 0.02 for epochs in (10, 20, 40, 80)})
    assert falling.floor >= 0 and falling.factor > 0
    rising = law_through({10: 0.2, 20: 0.21, 40: 0.22, 80: 0.23})
    assert rising.factor == 0 and rising.error(50) == pytest.approx(0.215)


def test_no_points_are_refused() -> None:
    with pytest.raises(UserError, match="no accuracies"):
        fit([], 4)


def test_interval_is_wider_at_the_ends_and_with_worse_fits() -> None:
    points = {epochs: 0.2 + 0.9 * epochs**-0.9 for epochs in (16, 24, 32, 40, 56, 88)}
    law = law_through(points)
    assert law.variance(16, 1e-6) > law.variance(30, 1e-6) > 0
    bent = law_through({epochs: error + 0.004 * (-1) ** (epochs // 8) for epochs, error in points.items()})
    assert bent.scale > 5 * law.scale


def test_intervals_hold_nine_in_ten_new_runs() -> None:
    """200 made-up families of six noisy points, and five new runs of each."""
    random, inside, sd = np.random.default_rng(1), 0, 0.001
    for _ in range(200):
        noise = random.normal(0, sd, 6)
        points = {
            epochs: 0.2 + 0.9 * epochs**-0.9 + extra
            for epochs, extra in zip((16, 24, 32, 40, 56, 88), noise, strict=True)
        }
        law = law_through(points, sd)
        for epochs in random.uniform(16, 88, 5):
            new = 0.2 + 0.9 * epochs**-0.9 + random.normal(0, sd)
            half = law.half_width(law.variance(epochs, sd**2) ** 0.5)
            inside += abs(new - law.error(epochs)) <= half
    assert 870 < inside < 990


def test_chance_is_a_half_at_the_middle_and_grows_with_the_margin() -> None:
    law = law_through({100: 0.22, 300: 0.20, 600: 0.195})
    assert law.chance_below(0, 0.001) == pytest.approx(0.5)
    assert law.chance_below(law.half_width(0.001), 0.001) == pytest.approx(0.95)
