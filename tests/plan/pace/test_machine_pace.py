"""A pace's speeds: the slowest stage, what was measured together, and resolutions between the measured ones."""

from dataclasses import replace

import pytest

from engine.plan.pace.machine_pace import Pace, SidePace


def test_rate_is_that_of_the_slowest_stage() -> None:
    side = SidePace(side=160, step=3000, decode=1000, copy=9000, disk=2000)
    assert (side.rate, side.limited_by) == (1000, "decode")


def test_measured_together_counts_before_the_stages() -> None:
    side = SidePace(side=24, step=3000, decode=9000, together=2500)
    assert (side.rate, side.limited_by) == (2500, "step")


def test_resolution_between_is_interpolated(pace: Pace) -> None:
    between = pace.at(20)
    assert 10 < between.step < 20
    assert between.decode and 30 < between.decode < 40
    assert between.together is None
    assert pace.at(24) is pace.sides[1]


def test_more_gpus_scale_the_step_not_the_host(pace: Pace) -> None:
    together = replace(pace, sides=tuple(replace(side, together=9.0) for side in pace.sides))
    eight = together.on_gpus(8, 0.03)
    assert eight.at(24).stages == {"decode": 30, "copy": 8000, "step": 80}
    assert (eight.at(24).rate, eight.at(24).limited_by) == (30, "decode")
    assert eight.validation_seconds == pytest.approx(0.2 / 8)
    assert eight.error == pytest.approx(0.13)
