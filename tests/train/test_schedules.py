"""Learning-rate schedules against their sources: ffcv-imagenet's formula, the papers', and torch's schedulers."""

import numpy as np
import pytest
import torch

from engine.config.train.train_config import LrConfig
from engine.train.schedules import lr_at


def test_cyclic_matches_ffcv_imagenet() -> None:
    lr = LrConfig(lr=1.7, lr_schedule_type="cyclic", lr_peak_epoch=2)
    for epoch in np.linspace(0, 16, 65):
        assert lr_at(lr, epoch, 16) == pytest.approx(np.interp(epoch, [0, 2, 16], [1.7e-4, 1.7, 0]))


def test_step_drops_by_its_ratio_every_length() -> None:
    lr = LrConfig(lr=0.1, lr_schedule_type="step", step_ratio=0.1, step_length=30)
    assert [lr_at(lr, epoch, 90) for epoch in (0, 29.99, 30, 60)] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_cosine_matches_torch_after_a_linear_warm_up() -> None:
    lr = LrConfig(lr=2.0, lr_schedule_type="cosine", lr_peak_epoch=5)
    assert [lr_at(lr, epoch, 90) for epoch in (0, 1, 2.5, 5)] == pytest.approx([0, 0.4, 1, 2])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=85)
    for epoch in range(5, 91):
        assert lr_at(lr, epoch, 90) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_cosine_with_start_and_final_rate_matches_torch() -> None:
    """torch's warm-up (LinearLR) and its cosine with a floor (eta_min), one behind the other."""
    lr = LrConfig(lr=0.002, lr_schedule_type="cosine", lr_peak_epoch=4, lr_start=2e-5, lr_final=1e-6)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.002)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=4)
    for epoch in range(4):
        assert lr_at(lr, epoch, 50) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warm_up.step()
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=46, eta_min=1e-6)
    for epoch in range(4, 51):
        assert lr_at(lr, epoch, 50) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        fall.step()
    assert lr_at(lr, 50, 50) == pytest.approx(1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_polynomial_matches_torch_down_to_lr_final(power: float) -> None:
    lr = LrConfig(lr=3.0, lr_schedule_type="polynomial", lr_peak_epoch=0, power=power)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3.0)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=40, power=power)
    for epoch in range(41):
        assert lr_at(lr, epoch, 40) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()
    floor = LrConfig(
        lr=3.0, lr_schedule_type="polynomial", lr_peak_epoch=4, lr_start=1.0, lr_final=0.5, power=power
    )
    assert [lr_at(floor, epoch, 40) for epoch in (0, 2, 4, 40)] == pytest.approx([1, 2, 3, 0.5])
    assert lr_at(floor, 22, 40) == pytest.approx(0.5 + 2.5 * 0.5**power)


def test_flat_cosine_is_flat_then_half_a_cosine() -> None:
    lr = LrConfig(lr=0.8, lr_schedule_type="flat-cosine", lr_peak_epoch=2, flat_until=0.75, lr_final=0.2)
    assert [lr_at(lr, epoch, 40) for epoch in (0, 1, 2, 17, 30)] == pytest.approx([0, 0.4, 0.8, 0.8, 0.8])
    for epoch in np.linspace(30, 40, 21):
        expected = 0.2 + 0.6 * (1 + np.cos(np.pi * (epoch - 30) / 10)) / 2
        assert lr_at(lr, epoch, 40) == pytest.approx(expected)


def test_constant_is_constant() -> None:
    lr = LrConfig(lr=0.3, lr_schedule_type="constant")
    assert {lr_at(lr, epoch, 9) for epoch in np.linspace(0, 9, 19)} == {0.3}


def test_peak_share_equals_the_same_peak_epoch() -> None:
    """OneCycleLR's pct_start 0.3, whatever the number of epochs."""
    for epochs in (10, 55):
        share = LrConfig(lr=0.175, lr_schedule_type="one-cycle", lr_peak_share=0.3)
        epoch = LrConfig(lr=0.175, lr_schedule_type="one-cycle", lr_peak_epoch=0.3 * epochs)
        for at in np.linspace(0, epochs, 41):
            assert lr_at(share, at, epochs) == lr_at(epoch, at, epochs)
        assert lr_at(share, 0.3 * epochs, epochs) == pytest.approx(0.175)


def test_one_cycle_matches_torch() -> None:
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
