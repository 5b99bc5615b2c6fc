"""The time of a run is the sum of its parts."""

from dataclasses import replace

import pytest

from engine.config.train.train_config import TrainConfig
from engine.plan.duration import FLOOR_SECONDS, ahead, run_duration, stretched, thinned
from engine.plan.pace.machine_pace import Pace
from tests.shapes import TRAIN


def test_parts_add_up_to_the_time(recipe: TrainConfig, pace: Pace) -> None:
    found = run_duration(recipe, pace, TRAIN)
    images = dict.fromkeys((16, 24), 0)
    for part in (part for parts in ahead(recipe, TRAIN) for part in parts):
        images[part.side] += part.images
    assert found.images == sum(images.values()) == 4 * TRAIN
    assert found.parts == pytest.approx(
        {
            "set-up": 3.0,
            "first steps": 2.0,
            "training": images[16] / 20 + images[24] / 10,
            "validation": 4 * 0.2,
            "saving": 4 * 0.1,
            "finish": 0.5,
        }
    )
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.high - found.seconds == pytest.approx(0.1 * found.seconds + FLOOR_SECONDS)


@pytest.mark.parametrize("length", [2.0, 2.5, 3.7, 7.0])
def test_stretched_run_has_that_many_epochs_of_images(recipe: TrainConfig, length: float) -> None:
    parts = [part for parts in ahead(stretched(recipe, length), TRAIN) for part in parts]
    steps = sum(part.images for part in parts) / 16
    assert steps == pytest.approx(length * TRAIN / 16, abs=0.51)
    assert parts[-1].side == 24 and parts[0].side == 16


def test_fractional_or_short_length_is_a_timeline(recipe: TrainConfig) -> None:
    assert stretched(recipe, 5.4).training.epochs == 6
    assert stretched(recipe, 5.4).training.timeline == "0:5.4"
    assert stretched(recipe, 5.0).training.timeline == "0:5"
    assert stretched(recipe, 12.0).training.timeline == ""


def test_slow_validations_are_thinned_to_a_share(recipe: TrainConfig, pace: Pace) -> None:
    slow = replace(pace, validation_seconds=2.0)
    config = thinned(stretched(recipe, 10), slow, TRAIN)
    # An epoch at 24 px takes 9.6 s, of which 5% are 0.48 s.
    assert config.validation.every == 5
    assert run_duration(config, slow, TRAIN).validations == 2
    assert thinned(recipe, pace, TRAIN).validation.every == 1


def test_probability_is_half_at_the_middle(recipe: TrainConfig, pace: Pace) -> None:
    found = run_duration(recipe, pace, TRAIN)
    assert found.probability(found.seconds) == pytest.approx(0.5)
    assert found.probability(found.high) == pytest.approx(0.95, abs=0.001)
    assert found.probability(found.low) == pytest.approx(0.05, abs=0.001)


def test_limiting_stage_is_the_one_with_most_time(recipe: TrainConfig, pace: Pace) -> None:
    assert run_duration(recipe, pace, TRAIN).limited_by == "step"
    starved = replace(pace, sides=tuple(replace(side, decode=5.0) for side in pace.sides))
    found = run_duration(recipe, starved, TRAIN)
    assert found.limited_by == "decode"
    assert found.parts["training"] == pytest.approx(4 * TRAIN / 5)
