"""The copy stage: refused without a GPU, valid records with one."""

from pathlib import Path

import pytest
import torch

from benchmarks.stages.copy import main
from engine.errors import UserError
from tests.benchmarks import record_checks


def test_missing_gpu_is_refused_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="copy needs a CUDA device") as caught:
        main([])
    assert "\n" not in str(caught.value)


def test_unknown_form_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="--what"):
        main(["--what=float64"])


@pytest.mark.gpu
def test_gpu_gives_valid_records(tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    assert main(["--resolution=32", "--batch=8", "--seconds=0.01", f"--json={file}"]) == 0
    found = record_checks.read(file)
    assert [record["what"] for record in found] == ["yuv420-packed", "uint8", "float32"]
    for record in found:
        record_checks.check(record)
        assert record["ours_bytes_per_second"] > 0
