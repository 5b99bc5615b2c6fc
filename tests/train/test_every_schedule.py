"""What holds for every schedule of learning rate and resolution: each registered one is tested without being named."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from engine.config.choices import LR_SCHEDULES, RESOLUTION_SCHEDULES, Choices, names
from engine.config.options import OptionSpec, options_of
from engine.config.train.train_config import LrConfig, ResolutionConfig
from engine.train.schedules import RESOLUTIONS, SCHEDULES, lr_at, resolution_at

EPOCHS = 18
EVERY_LR = pytest.mark.parametrize("name", names(LR_SCHEDULES))
EVERY_RESOLUTION = pytest.mark.parametrize("name", names(RESOLUTION_SCHEDULES))


def _lr(name: str, **changes: Any) -> LrConfig:
    return LrConfig(**{"lr": 0.5, "lr_schedule_type": name, "lr_peak_epoch": 2, **changes})


def _rates(lr: LrConfig, points: int = 361) -> np.ndarray:
    return np.array([lr_at(lr, epoch, EPOCHS) for epoch in np.linspace(0, EPOCHS, points)])


def _resolution(name: str, **changes: Any) -> ResolutionConfig:
    usual = {"min_res": 96, "max_res": 224, "start_ramp": 0.2, "end_ramp": 0.8, "multiple_of": 8}
    return ResolutionConfig(**{"schedule": name, "stages": "96x6, 160x6, 224x6", **usual, **changes})


def _sides(resolution: ResolutionConfig) -> list[int]:
    return [resolution_at(resolution, epoch, EPOCHS) for epoch in range(EPOCHS)]


def test_registered_schedules_are_the_choices_of_the_options() -> None:
    assert sorted(options_of(LrConfig)["lr_schedule_type"].choices) == SCHEDULES.names()
    assert sorted(options_of(ResolutionConfig)["schedule"].choices) == RESOLUTIONS.names()


@EVERY_LR
def test_rates_are_finite_and_peak_at_lr(name: str) -> None:
    rates = _rates(_lr(name))
    assert np.isfinite(rates).all() and rates.min() >= 0
    assert rates.max() == pytest.approx(0.5)


@EVERY_LR
def test_rates_are_continuous_but_for_the_drops_of_steps(name: str) -> None:
    """Ten times as fine a grid makes the largest change ten times as small."""
    coarse, fine = (np.abs(np.diff(_rates(_lr(name, step_length=5), points))).max() for points in (361, 3601))
    jumps = "step_length" in LR_SCHEDULES[name].takes
    assert (fine > 0.5 * coarse and coarse > 0) == jumps


@EVERY_LR
def test_first_and_last_rates_are_those_of_the_options(name: str) -> None:
    takes = LR_SCHEDULES[name].takes
    if "lr_start" in takes:
        assert lr_at(_lr(name, lr_start=0.1), 0, EPOCHS) == pytest.approx(0.1)
    if "lr_final" in takes:
        assert lr_at(_lr(name, lr_final=0.01), EPOCHS, EPOCHS) == pytest.approx(0.01)
    if "lr_peak_epoch" in takes:
        assert lr_at(_lr(name), 2, EPOCHS) == pytest.approx(0.5)


@EVERY_LR
def test_rates_scale_with_the_peak(name: str) -> None:
    np.testing.assert_allclose(_rates(_lr(name, lr=1.0)), 2 * _rates(_lr(name)), rtol=1e-12)


def _another(spec: OptionSpec) -> float:
    return 0.25 if spec.default == 0 else 0.5 * spec.default + 0.5 * (spec.above or 0)


def _shared(choices: Choices) -> list[str]:
    return sorted({option for choice in choices.values() for option in choice.takes})


@EVERY_LR
@pytest.mark.parametrize("option", _shared(LR_SCHEDULES))
def test_lr_option_changes_rates_only_if_supported(name: str, option: str) -> None:
    plain = _lr(name, step_length=5)
    value: Any = _another(options_of(LrConfig)[option])
    changed = replace(plain, **{option: value})
    assert np.array_equal(_rates(plain), _rates(changed)) == (option not in LR_SCHEDULES[name].takes)


@EVERY_RESOLUTION
def test_resolutions_are_multiples_that_grow_up_to_the_last(name: str) -> None:
    sides = _sides(_resolution(name))
    assert sides == sorted(sides) and sides[-1] == 224
    assert all(side % 8 == 0 and side >= 8 for side in sides)


@EVERY_RESOLUTION
@pytest.mark.parametrize("option", _shared(RESOLUTION_SCHEDULES))
def test_resolution_option_changes_sizes_only_if_supported(name: str, option: str) -> None:
    values: dict[str, Any] = {
        "min_res": 128, "max_res": 192, "start_ramp": 0.5, "end_ramp": 0.5, "multiple_of": 32,
        "initial_scale": 0.75, "delay_fraction": 0.1, "finetune_fraction": 0.4, "stages": "96x12, 224x6",
    }  # fmt: skip
    plain = _resolution(name)
    changed = replace(plain, **{option: values[option]})
    assert (_sides(plain) == _sides(changed)) == (option not in RESOLUTION_SCHEDULES[name].takes)


def test_options_of_choices_exist() -> None:
    for choices, section in ((LR_SCHEDULES, LrConfig), (RESOLUTION_SCHEDULES, ResolutionConfig)):
        assert set(_shared(choices)) <= {field.name for field in fields(section)}
