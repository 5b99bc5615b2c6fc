"""Learning-rate and resolution schedules against their sources: ffcv-imagenet's formula and torch's schedulers."""

import numpy as np
import pytest
import torch

from engine.config.schema import LrConfig, ResolutionConfig
from engine.train.schedules import SCHEDULES, lr_at, resolution_at


def test_cyclic_is_ffcv_imagenets_interpolation() -> None:
    lr = LrConfig(lr=1.7, lr_schedule_type="cyclic", lr_peak_epoch=2)
    for epoch in np.linspace(0, 16, 65):
        assert lr_at(lr, epoch, 16) == pytest.approx(np.interp(epoch, [0, 2, 16], [1.7e-4, 1.7, 0]))


def test_step_falls_by_its_ratio_at_each_length() -> None:
    lr = LrConfig(lr=0.1, lr_schedule_type="step", step_ratio=0.1, step_length=30)
    assert [lr_at(lr, epoch, 90) for epoch in (0, 29.99, 30, 60)] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_cosine_rises_linearly_and_falls_as_torchs_cosine_does() -> None:
    lr = LrConfig(lr=2.0, lr_schedule_type="cosine", lr_peak_epoch=5)
    assert [lr_at(lr, epoch, 90) for epoch in (0, 1, 2.5, 5)] == pytest.approx([0, 0.4, 1, 2])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=85)
    for epoch in range(5, 91):
        assert lr_at(lr, epoch, 90) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_one_cycle_is_torchs_curve() -> None:
    steps, epochs, peak = 200, 20, 6
    lr = LrConfig(
        lr=0.175, lr_schedule_type="one-cycle", lr_peak_epoch=peak, div_factor=25, final_div_factor=1e4
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.175, total_steps=steps + 1, pct_start=(peak / epochs * steps + 1) / (steps + 1)
    )
    for step in range(steps + 1):
        assert lr_at(lr, step * epochs / steps, epochs) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-6
        )
        optimizer.step()
        if step < steps:
            scheduler.step()


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_is_finite_never_negative_and_reaches_the_peak(name: str) -> None:
    lr = LrConfig(lr=0.5, lr_schedule_type=name, lr_peak_epoch=2)
    rates = [lr_at(lr, epoch, 18) for epoch in np.linspace(0, 18, 361)]
    assert all(np.isfinite(rates)) and min(rates) >= 0
    assert max(rates) == pytest.approx(0.5)


def _ffcv_resolution(epoch: int, low: int, high: int, start: int, end: int) -> int:
    if epoch <= start:
        return low
    if epoch >= end:
        return high
    return int(np.round(np.interp(epoch, [start, end], [low, high]) / 32)) * 32


@pytest.mark.parametrize(
    ("epochs", "start", "end"),
    [(16, 11, 13), (24, 17, 20), (32, 23, 27), (40, 29, 34), (56, 41, 48), (88, 65, 76)],
)
def test_ramps_as_shares_give_ffcv_imagenets_resolution_in_each_epoch(
    epochs: int, start: int, end: int
) -> None:
    ours = ResolutionConfig(min_res=160, max_res=192, start_ramp=start / epochs, end_ramp=end / epochs)
    for epoch in range(epochs):
        assert resolution_at(ours, epoch, epochs) == _ffcv_resolution(epoch, 160, 192, start, end)


def test_the_ramp_rounds_to_its_multiple_and_stays_between_its_ends() -> None:
    ramp = ResolutionConfig(min_res=20, max_res=28, start_ramp=0, end_ramp=1, multiple_of=8)
    assert {resolution_at(ramp, epoch, 10) for epoch in range(11)} == {20, 24, 28}


def test_without_a_ramp_the_resolution_is_constant() -> None:
    flat = ResolutionConfig(min_res=128, max_res=128)
    assert {resolution_at(flat, epoch, 7) for epoch in range(7)} == {128}
