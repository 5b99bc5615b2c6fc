"""The export stage: three comparisons for each size of batch, with the files' sizes."""

from pathlib import Path

import pytest

from benchmarks.stages.export import main
from engine.errors import UserError
from tests.benchmarks import record_checks


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_int8_fp32_and_eager_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    tiny = ("--arch=small_resnet", "--resolution=32", "--batch=2", "--seconds=0.001")
    assert main([*tiny, f"--json={file}"]) == 0
    found = record_checks.read(file)
    for record in found:
        record_checks.check(record)
    pairs = [("onnx-int8", "onnx-fp32"), ("onnx-int8", "eager"), ("onnx-fp32", "eager")]
    assert [(record["ours"], record["peer"]) for record in found] == pairs
    assert found[0]["size_ratio"] < 0.5 < found[2]["size_ratio"] < 1.5


def test_no_batch_of_nothing() -> None:
    with pytest.raises(UserError, match="--batch"):
        main(["--batch=0"])
