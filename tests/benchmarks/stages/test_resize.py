"""The resize stage: skipped without a GPU, valid records with one."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.stages.resize import main
from engine.errors import UserError


def test_missing_gpu_skips_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main([]) == 0
    assert capsys.readouterr().out == "skipped: no CUDA device\n"


def test_storage_without_packing_is_refused() -> None:
    with pytest.raises(UserError, match="--storage"):
        main(["--storage", "jpeg"])


@pytest.mark.gpu
def test_gpu_gives_valid_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "records.json"
    assert (
        main(
            [
                *("--storage", "yuv420,raw", "--resolution", "64,96", "--batch", "32"),
                *("--seconds", "0.05", "--json", str(file)),
            ]
        )
        == 0
    )
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(r["ours"], r["resolution"]) for r in records] == [
        *(("yuv420-packed", 64), ("yuv420-packed", 96)),
        *(("raw-packed", 64), ("raw-packed", 96)),
    ]
    for record in records:
        assert record["most_pixel_difference"] <= 1
        assert record["ours_median"] > 0
        assert record["n"] == 5
