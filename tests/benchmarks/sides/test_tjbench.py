"""tjbench: its table and its failures."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.harness.images.exports import jpegs
from benchmarks.harness.images.prepared import prepare
from benchmarks.sides import tjbench
from engine.errors import UserError


def test_table_is_parsed_and_a_failure_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
