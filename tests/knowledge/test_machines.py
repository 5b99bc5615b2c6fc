"""Machines with published speeds."""

import pytest

from engine.errors import UserError
from engine.knowledge.machines import (
    ERROR_PUBLISHED,
    ERROR_SCALED,
    find_machine,
    interpolated,
    machines,
    speed_fit,
)


@pytest.mark.parametrize("name", sorted(machines()))
def test_every_machine_has_speeds_that_fall_with_resolution(name: str) -> None:
    machine = machines()[name]
    speeds = [machine.speed("resnet50", side) for side in (96, 128, 160, 192, 224, 288)]
    assert speeds == sorted(speeds, reverse=True)
    assert machine.error in (ERROR_PUBLISHED, ERROR_SCALED, speed_fit().half_width)
    assert machine.basis


def test_published_speeds_are_as_published() -> None:
    machine = find_machine("8xA100-40GB")
    assert machine.speed("resnet50", 160) == 8 * 3517
    assert machine.speed("resnet50", 192) == 8 * 2600
    assert machine.validation_seconds("resnet50", 50_000, 256, tta=True) == pytest.approx(3.6, abs=0.01)
    assert find_machine("1xV100").speed("resnet50", 128) == 2860


def test_scaled_gpu_is_as_fast_as_its_minutes_say() -> None:
    ratio = find_machine("8xH200").speed("resnet50", 160) / find_machine("8xA100").speed("resnet50", 160)
    assert ratio == pytest.approx(28.6 / 12.03)
    assert find_machine("8xH200").error == ERROR_SCALED


def test_ratio_method_misses_the_v100_by_less_than_its_interval() -> None:
    """MLPerf's images/s are 1,395 and 3,554; the V100's own speed is published too."""
    scaled = find_machine("1xA100").speed("resnet50", 224) * 1395 / 3554
    assert scaled == pytest.approx(find_machine("1xV100").speed("resnet50", 224), rel=ERROR_SCALED)


@pytest.mark.parametrize("name", ["8xA100", "8 x a100-40gb", "8xA100-80GB", "8xa100"])
def test_names_of_one_machine_are_equal(name: str) -> None:
    assert find_machine(name).name == "8xA100-40GB"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("8xB200", "unknown machine '8xB200'.*did you mean"),
        ("8xA1OO-40GB", "did you mean 'A100-40GB'"),
        ("", "unknown machine"),
        ("9xA100", "cover 1 to 8 GPUs"),
        ("0xA100", "cover 1 to 8 GPUs"),
    ],
)
def test_unknown_machine_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_machine(name)


def test_unpublished_network_is_refused() -> None:
    with pytest.raises(UserError, match="only of resnet18, resnet50"):
        find_machine("8xA100").speed("small_resnet", 32)


def test_speeds_between_and_beyond_are_monotonic() -> None:
    speeds = {160: 3517.0, 224: 2470.0}
    found = [interpolated(speeds, side) for side in range(64, 320, 8)]
    assert found == sorted(found, reverse=True)
    assert interpolated(speeds, 160) == 3517.0
