"""The roofline: units, its limits, a case by hand, the fit."""

import numpy as np
import pytest

from engine.errors import UserError
from engine.knowledge.machines import find_machine, published_figures, rates_of, speed_fit
from engine.knowledge.roofline import Rates, fit, seconds_per_image, speed_at
from engine.knowledge.traced_steps import TracedStep

STEP = TracedStep(
    network="made-up",
    blurpool="off",
    side=128,
    batch=2,
    torch="0",
    graphs=2,
    breaks=0,
    launches=(1, 1),
    triton_mb=(10.0, 20.0),
    other_mb=(0.0, 0.0),
    products=(("forward", 2, 1.0, 5.0), ("matrix", 1, 0.1, 40.0)),
)


def test_step_takes_what_it_takes_by_hand() -> None:
    """At 1 TB/s x 0.5 and 100 TFLOPS x 0.2: Triton 60 us, two products 50 us of FLOPs each, one 80 us of bytes."""
    rates = Rates(gb_per_second=1000, tflops=100)
    assert float(seconds_per_image(STEP, rates, 0.5, 0.2)) == pytest.approx(60e-6 + 2 * 50e-6 + 80e-6)


def test_speed_rises_with_each_rate_and_never_beyond_it() -> None:
    slow = Rates(gb_per_second=1000, tflops=100)
    base = speed_at("resnet50", "convolution", 192, slow, 0.8, 0.4)
    for faster in (Rates(gb_per_second=2000, tflops=100), Rates(gb_per_second=1000, tflops=200)):
        assert base < speed_at("resnet50", "convolution", 192, faster, 0.8, 0.4) < 2 * base
    both = Rates(gb_per_second=2000, tflops=200)
    assert float(speed_at("resnet50", "convolution", 192, both, 0.8, 0.4)) == pytest.approx(2 * float(base))


def test_speed_falls_with_resolution_and_with_blurpool() -> None:
    rates = rates_of()["H200"]
    sides = [float(speed_at("resnet50", "off", side, rates, 1.0, 0.3)) for side in (96, 128, 176, 224, 288)]
    assert sides == sorted(sides, reverse=True)
    assert speed_at("resnet50", "convolution", 224, rates, 1.0, 0.3) < sides[3]


def test_network_that_was_not_traced_is_refused() -> None:
    with pytest.raises(UserError, match="no step of alexnet with blurpool off was traced"):
        speed_at("alexnet", "off", 128, rates_of()["H200"], 1.0, 1.0)


def test_fit_finds_the_shares_that_made_the_figures() -> None:
    """Figures made with known shares are fitted and predicted, each GPU left out, within the grid's 2.5%."""
    rates = rates_of()
    made = [
        type(one)(
            **{
                **vars(one),
                "speed": float(speed_at(one.network, one.blurpool, one.side, rates[one.gpu], 0.7, 0.4)),
            }
        )
        for one in published_figures()
    ]
    found = fit(made, rates)
    assert found.memory == pytest.approx(0.7, rel=0.03)
    assert found.tensor == pytest.approx(0.4, rel=0.03)
    assert found.rms < 0.03


def test_figures_of_a_gpu_do_not_change_its_own_left_out_prediction() -> None:
    rates, figures = rates_of(), published_figures()
    changed = [
        type(one)(**{**vars(one), "speed": one.speed * (5 if one.gpu.startswith("A100") else 1)})
        for one in figures
    ]
    for before, after in zip(fit(figures, rates).checked, fit(changed, rates).checked, strict=True):
        if before.figure.gpu.startswith("A100"):
            assert after.left_out == before.left_out
    assert fit(changed, rates).rms > fit(figures, rates).rms


def test_published_figures_are_predicted_within_the_stated_error() -> None:
    """Most lie within the 90% interval, and left out is no better than fitted."""
    found = speed_fit()
    inside = [abs(one.left_out / one.figure.speed - 1) <= found.half_width for one in found.checked]
    assert np.mean(inside) >= 0.85
    assert found.rms_fitted < found.rms < 0.3
    assert {"H200", "H100", "A100-40GB", "A100-80GB", "L4", "L40S", "V100-32GB"} <= {
        one.figure.gpu for one in found.checked
    }


def test_machine_without_figures_is_predicted_and_says_so() -> None:
    machine, found = find_machine("8xRTX4090"), speed_fit()
    assert machine.basis_of("resnet50") == (
        "predicted from the machine's published rates (1,008 GB/s, 165 TFLOPS), off by 23% on the 19 figures that are "
        "published; not measured here"
    )
    assert machine.error_of("resnet50") == found.half_width > 0.3
    assert machine.speed("resnet50", 160) == 8 * find_machine("1xRTX4090").speed("resnet50", 160)


def test_published_network_stays_published_and_another_is_predicted() -> None:
    machine = find_machine("1xV100")
    assert machine.predicted == ("resnet18",)
    assert machine.error_of("resnet50") == 0.10 and machine.error_of("resnet18") == speed_fit().half_width
    assert machine.basis_of("resnet50").startswith("published, not measured here; speeds by")
    assert find_machine("1xA100").predicted == find_machine("1xH200").predicted == ()
