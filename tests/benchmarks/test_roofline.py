"""The roofline: FLOPs against a count by hand, rates that are plausible, and the share of the limit in the record."""

import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.stages.roofline import main
from benchmarks.harness.images.exports import jpegs
from benchmarks.harness.images.prepared import prepare
from benchmarks.sides import tjbench
from benchmarks.sides.roofline_limits import copy_work, matrix_work
from benchmarks.sides.roofline_limits import step_cost
from engine.errors import UserError
from tests.benchmarks import records


def test_flops_are_two_for_each_multiply_and_add_forward_and_twice_that_back() -> None:
    side, channels = 8, 5
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.Flatten(), nn.Linear(channels * side**2, 7)
    )
    cost = step_cost(model, batch=4, side=side, dtype=torch.float32)
    convolution, linear = 2 * 27 * channels * side**2, 2 * channels * side**2 * 7
    # No gradient is made for the images, so the first layer's backward pass is only that of its weights.
    assert cost.flops == 2 * convolution + 3 * linear
    outputs = 4 * (channels * side**2 * 2 + 7)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert cost.bytes == 5 * outputs + 7 * 4 * weights / 4
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_the_precision_halves_what_the_layers_write() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 3))
    whole, half = (
        step_cost(model, batch=10**9, side=6, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    assert whole.flops == half.flops
    assert whole.bytes == pytest.approx(2 * half.bytes, rel=1e-3)


def test_the_device_s_work_is_what_it_says() -> None:
    device = torch.device("cpu")
    product, flops = matrix_work(device, torch.float32)
    assert flops == 2.0 * 1024**3
    copy, moved = copy_work(device)
    target = copy.call()
    assert isinstance(target, torch.Tensor)
    assert (target.numel() * 2, int(target.min())) == (moved, 1)
    assert isinstance(product.call(), torch.Tensor)


@pytest.mark.slow
def test_the_step_s_share_of_the_limit_is_in_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--what=step", "--arch=small_resnet", "--resolution=16", "--batch=4", "--precision=fp32")
    assert main([*options, "--seconds=0.01", f"--json={tmp_path}/r.json"]) == 0
    (record,) = records.read(tmp_path / "r.json")
    records.check(record)
    assert 0 < record["ratio"]["median"] < 1
    limit = min(
        record["matrix_flops_per_second"] / record["flops_per_image"],
        record["memory_bytes_per_second"] / record["bytes_per_image"],
    )
    # Medians of rates and of limits, so not the very same.
    assert record["peer_median"] == pytest.approx(limit, rel=0.5)
    assert f"{100 * record['ratio']['median']:.0f}%" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not tjbench.is_there(), reason="tjbench is not installed (Debian: libjpeg-turbo-progs)")
def test_the_decoder_is_held_against_tjbench(cache: Path, tmp_path: Path) -> None:
    options = ("--what=decode", "--scale=1", "--images=8", "--seconds=0.02", "--decode-resolution=64")
    assert main([*options, f"--json={tmp_path}/r.json"]) == 0
    (record,) = records.read(tmp_path / "r.json")
    records.check(record)
    assert (record["peer"], record["cores"]) == ("tjbench", 1)
    assert record["ours_ns_per_pixel"] > 0
    ratio = record["peer_ns_per_pixel"] / record["ours_ns_per_pixel"]
    assert record["ours_median"] / record["peer_median"] == pytest.approx(ratio)


def test_tjbench_s_table_is_read_and_its_refusal_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (jpeg, _), *_ = jpegs(prepare(None, "jpeg-kept", 8).beton)
    printed = "\nRGB  (TD)  YCbCr  4:2:0    500    375     N/A     N/A     258.4   \n"

    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        assert Path(command[1]).read_bytes() == jpeg
        return subprocess.CompletedProcess(command, 0, printed, "")

    # The program is not on every machine; what it prints is.
    monkeypatch.setattr(subprocess, "run", run)
    assert tjbench.megapixels_per_second([jpeg, jpeg], 0.1) == pytest.approx(258.4)
    printed = "ERROR in line 9 while opening input image"
    with pytest.raises(UserError, match=r"^tjbench failed: ERROR in line 9"):
        tjbench.megapixels_per_second([jpeg], 0.1)


def test_without_tjbench_there_is_a_line_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tjbench, "is_there", lambda: False)
    assert main(["--what=decode", f"--json={tmp_path}/r.json"]) == 0
    assert (
        capsys.readouterr().out
        == "left out: decode: tjbench is not installed (Debian: libjpeg-turbo-progs)\n"
    )
    assert not (tmp_path / "r.json").exists()
