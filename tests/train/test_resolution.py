"""Resolution by epoch against its sources: ffcv-imagenet's ramp, Composer's progressive resizing, stages."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.config.train.train_config import ResolutionConfig
from engine.train.schedules import batch_at, resolution_at
from tests.train.conftest import log_of, train_here

Options = Callable[..., list[str]]


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
def test_ramp_matches_ffcv_imagenet_in_each_epoch(epochs: int, start: int, end: int) -> None:
    ours = ResolutionConfig(min_res=160, max_res=192, start_ramp=start / epochs, end_ramp=end / epochs)
    for epoch in range(epochs):
        assert resolution_at(ours, epoch, epochs) == _ffcv_resolution(epoch, 160, 192, start, end)


def test_ramp_rounds_to_its_multiple_within_its_ends() -> None:
    ramp = ResolutionConfig(min_res=20, max_res=28, start_ramp=0, end_ramp=1, multiple_of=8)
    assert {resolution_at(ramp, epoch, 10) for epoch in range(11)} == {20, 24, 28}


def test_equal_ends_give_a_constant_resolution() -> None:
    flat = ResolutionConfig(min_res=128, max_res=128)
    assert {resolution_at(flat, epoch, 7) for epoch in range(7)} == {128}


def _composers_side(elapsed: float, side: int, scale: float, delay: float, finetune: float) -> int:
    """As in Composer's documentation of ProgressiveResizing; `elapsed` is a share of the run."""
    grown = 0.0 if elapsed < delay else min((elapsed - delay) / (1 - finetune - delay), 1)
    return round(side * (scale + (1 - scale) * grown) / 4) * 4


@pytest.mark.parametrize(
    ("epochs", "side", "scale", "delay", "finetune"),
    [(36, 176, 0.5, 0.4, 0.2), (135, 176, 0.5, 0.4, 0.2), (270, 176, 0.6, 0.2, 0.2), (10, 224, 1, 0, 0)],
)
def test_progressive_matches_composer_at_each_epoch(
    epochs: int, side: int, scale: float, delay: float, finetune: float
) -> None:
    ours = ResolutionConfig(
        schedule="progressive", max_res=side, multiple_of=4,
        initial_scale=scale, delay_fraction=delay, finetune_fraction=finetune,
    )  # fmt: skip
    sides = [resolution_at(ours, epoch, epochs) for epoch in range(epochs)]
    assert sides == [_composers_side(epoch / epochs, side, scale, delay, finetune) for epoch in range(epochs)]
    assert sides == sorted(sides)
    assert sides.count(side) >= int(finetune * epochs)


def test_progressive_without_a_ramp_jumps_to_the_maximum() -> None:
    ours = ResolutionConfig(
        schedule="progressive", max_res=227, multiple_of=4, delay_fraction=0.75, finetune_fraction=0.25
    )
    assert [resolution_at(ours, epoch, 4) for epoch in range(4)] == [112, 112, 112, 227]


def test_progressive_of_small_images_stays_above_zero() -> None:
    ours = ResolutionConfig(schedule="progressive", max_res=48, initial_scale=0.25)
    assert [resolution_at(ours, epoch, 5) for epoch in range(5)] == [32, 32, 32, 32, 48]
    tiny = ResolutionConfig(schedule="progressive", max_res=16)
    assert resolution_at(tiny, 0, 5) == 16


def test_stages_match_alibabas_dawnbench_entry() -> None:
    ours = ResolutionConfig(schedule="stages", stages="96x12, 128x6, 224x2, 288x1")
    expected = [96] * 12 + [128] * 6 + [224] * 2 + [288]
    assert [resolution_at(ours, epoch, 21) for epoch in range(21)] == expected


def test_batch_applies_up_to_its_resolution() -> None:
    ours = ResolutionConfig(batch_sizes="224:2560, 128:4096")
    assert [batch_at(ours, side, 8) for side in (96, 128, 129, 160, 224, 225)] == [
        4096, 4096, 2560, 2560, 2560, 8,
    ]  # fmt: skip


@pytest.mark.parametrize(("rule", "factor"), [("linear", 2), ("none", 1)])
def test_run_in_stages_uses_each_stages_batch_and_rate(
    options: Options, capsys: pytest.CaptureFixture[str], rule: str, factor: int
) -> None:
    argv = options(
        resolution__schedule="stages", resolution__stages="16x2, 24x1", resolution__batch_sizes="16:32",
        lr__batch_scaling=rule, lr__lr_schedule_type="constant", training__device_batch_size=16,
    )  # fmt: skip
    _, folder = train_here(argv)
    told = capsys.readouterr().out
    assert "16 px: global batch 32 = 16 images x 2 accumulation x 1 device" in told
    assert "24 px: global batch 16 = 16 images x 1 accumulation x 1 device" in told
    assert "leaves out" not in told, "96 images are three batches of 32, and six of 16"
    epochs = log_of(folder, "epoch")
    assert [entry["resolution"] for entry in epochs] == [16, 16, 24]
    assert [entry["global_batch"] for entry in epochs] == [32, 32, 16]
    assert [entry["accumulation"] for entry in epochs] == [2, 2, 1]
    assert [entry["lr_peak"] for entry in epochs] == pytest.approx([0.05 * factor, 0.05 * factor, 0.05])
    assert [entry["images"] for entry in epochs] == [96, 96, 96]


def test_images_left_out_per_epoch_are_noted_once_at_start(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = options(
        resolution__schedule="stages", resolution__stages="16x1, 24x1", resolution__batch_sizes="16:36",
        training__epochs=2,
    )  # fmt: skip
    train_here(argv)
    told = capsys.readouterr().out
    assert told.count("leaves out") == 1
    assert "note: each epoch leaves out 24 of 96 images at 16 px, different ones each time" in told
