"""`python -m engine inspect` on files of ours, and what it says of a file that is not whole."""

import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UserError
from engine.inspect import main
from tests.data.betons import drop_checksums, write_pixels
from tests.shapes import CLASSES, write_betons


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_betons(tmp_path_factory.mktemp("inspect"), train=24, val=6)[0]


def test_a_file_is_summed_up(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(train)]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["images"].startswith("24 (")
    assert said["classes"] == "6; images in one: 4 to 4, median 4"
    assert said["names"] == ", ".join(CLASSES)
    assert "format=proportion" in said["settings"]


def test_a_file_that_was_cut_short_is_refused(train: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.beton"
    cut.write_bytes(train.read_bytes())
    os.truncate(cut, cut.stat().st_size - 100)
    with pytest.raises(UserError, match=r"cut\.beton"):
        main([str(cut)])


def test_storage_and_checksums_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pixels(tmp_path, [np.zeros((20, 30, 3), np.uint8)] * 4, "yuv420")
    for checksums in ("one for each image", "none"):
        capsys.readouterr()
        assert main([str(path)]) == 0
        said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert said["images"] == "4 (4 YUV 4:2:0)"
        assert said["record"] == "900 to 900 bytes, median 900"
        assert said["checksums"] == checksums
        drop_checksums(path)
