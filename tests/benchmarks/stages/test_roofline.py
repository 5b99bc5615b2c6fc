"""The roofline stage: shares of the limit in the record."""

from pathlib import Path

import pytest

from benchmarks.sides import tjbench
from benchmarks.stages.roofline import main
from tests.benchmarks import record_checks


@pytest.mark.slow
def test_step_is_recorded_as_a_share_of_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--what=step", "--arch=small_resnet", "--resolution=16", "--batch=4", "--precision=fp32")
    assert main([*options, "--seconds=0.01", f"--json={tmp_path}/r.json"]) == 0
    (record,) = record_checks.read(tmp_path / "r.json")
    record_checks.check(record)
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
def test_decoder_is_compared_with_tjbench(cache: Path, tmp_path: Path) -> None:
    options = ("--what=decode", "--scale=1", "--images=8", "--seconds=0.02", "--decode-resolution=64")
    assert main([*options, f"--json={tmp_path}/r.json"]) == 0
    (record,) = record_checks.read(tmp_path / "r.json")
    record_checks.check(record)
    assert (record["peer"], record["cores"]) == ("tjbench", 1)
    assert record["ours_ns_per_pixel"] > 0
    ratio = record["peer_ns_per_pixel"] / record["ours_ns_per_pixel"]
    assert record["ours_median"] / record["peer_median"] == pytest.approx(ratio)


def test_missing_tjbench_gives_a_line_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tjbench, "is_there", lambda: False)
    assert main(["--what=decode", f"--json={tmp_path}/r.json"]) == 0
    assert (
        capsys.readouterr().out
        == "left out: decode: tjbench is not installed (Debian: libjpeg-turbo-progs)\n"
    )
    assert not (tmp_path / "r.json").exists()
