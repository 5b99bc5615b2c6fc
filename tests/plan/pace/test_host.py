"""What another host, storage or disk would do: which stage limits, and by how much."""

from dataclasses import replace

import pytest

from engine.errors import UserError
from engine.plan.pace.host import DECODE_ERROR, PER_CORE, Host, host_lines, read_speed, with_host
from engine.plan.pace.machine_pace import Pace, SidePace


@pytest.fixture
def published(pace: Pace) -> Pace:
    """Eight fast GPUs without a known host."""
    sides = (SidePace(side=160, step=28000), SidePace(side=224, step=20000))
    return replace(pace, sides=sides, measured=False, cores=0, storage="", gpus=8)


def test_nothing_asked_changes_nothing(published: Pace) -> None:
    assert with_host(published, Host()) is published


def test_few_cores_make_jpeg_decoding_the_limit(published: Pace) -> None:
    found = with_host(published, Host(cores=8, storage="jpeg"))
    assert found.at(160).decode == pytest.approx(8 * PER_CORE["jpeg"][160])
    assert found.at(160).limited_by == "decode"
    assert found.error == DECODE_ERROR
    assert host_lines(found)[0].endswith("decode limits: the next one could do 1.7 times as much")


def test_yuv420_leaves_the_step_as_the_limit(published: Pace) -> None:
    found = with_host(published, Host(cores=8, storage="yuv420"))
    assert [side.limited_by for side in found.sides] == ["step", "step"]
    assert found.error == published.error


def test_disk_is_the_limit_where_it_is_slow(published: Pace) -> None:
    found = with_host(published, Host(disk=1e9, image_bytes=100e3))
    assert found.at(160).stages == {"disk": 10000, "step": 28000}
    assert found.at(160).limited_by == "disk"
    assert "100 kB an image" in found.notes[-1]


def test_measured_decoding_scales_with_cores_and_storage(pace: Pace) -> None:
    """Twice as fast as the record's core: also in the other storage."""
    rate = 2 * 2 * PER_CORE["jpeg"][160]
    measured = replace(pace, sides=(SidePace(side=160, step=1e6, decode=rate, together=rate),))
    assert with_host(measured, Host(cores=4)).at(160).rate == pytest.approx(2 * rate)
    other = with_host(measured, Host(storage="yuv420")).at(160)
    assert other.decode == pytest.approx(4 * PER_CORE["yuv420"][160])


@pytest.mark.parametrize(
    ("host", "gpus", "message"),
    [
        (Host(cores=4), 0, "are for machines with GPUs"),
        (Host(storage="jpeg"), 8, "--storage needs --cores"),
        (Host(cores=4, storage="png"), 8, "choose jpeg or yuv420"),
    ],
)
def test_host_that_is_not_known_is_refused(published: Pace, host: Host, gpus: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_host(replace(published, gpus=gpus), host)


@pytest.mark.parametrize(
    ("text", "speed"),
    [("1GB/s", 1e9), ("500 MB/s", 5e8), ("2.5g", 2.5e9), ("7e", 0), ("fast", 0), ("0MB/s", 0)],
)
def test_disk_speed_is_read_or_refused(text: str, speed: float) -> None:
    if speed:
        assert read_speed(text) == speed
        return
    with pytest.raises(UserError, match="is not a speed"):
        read_speed(text)
