"""The speedrun's way through both scripts, on a small data set of the same kind, and what it says when it can't."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from engine.cli import speedrun
from engine.errors import UserError
from tests.train.conftest import log_of


def _write_idx(folder: Path, prefix: str, count: int) -> None:
    """MNIST-style files: `count` images of 28 x 28 in ten classes that differ in where their bright square is."""
    random = np.random.default_rng(count)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = random.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 5 * (label // 5) + 6, 5 * (label % 5) + 1
        image[row : row + 6, column : column + 6] = 230
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes())
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x801, count) + labels.tobytes())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for Debian's folder, in the same format."""
    folder = tmp_path / "idx"
    folder.mkdir()
    _write_idx(folder, "train", 600)
    _write_idx(folder, "t10k", 100)
    monkeypatch.setattr(speedrun, "DEBIAN_FOLDER", folder)
    return folder


SMALL = ["--training.epochs=2", "--training.batch_size=50", "--training.device=cpu", "--logging.name=small"]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "code"), [(0.1, 0), (1.0, 1)])
def test_speedrun_returns_the_exit_code_of_its_run(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], target: float, code: int
) -> None:
    folder, runs = tmp_path / "data", tmp_path / "runs"
    options = [*SMALL, f"--logging.folder={runs}", f"--budget.target_top1={target}"]
    assert speedrun.main(["--folder", str(folder), "--", *options]) == code
    assert (runs / "small" / "report.html").stat().st_size > 10_000
    assert log_of(runs / "small", "result")[0]["met"] is (code == 0)
    said = capfd.readouterr().out
    assert "$ python write_dataset.py" in said and "$ python train_imagenet.py" in said
    assert "target met" in said or "target missed" in said


@pytest.mark.slow
def test_speedrun_reuses_files_unless_damaged(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    only_convert = ["--folder", str(folder), "--", "--training.epochs=none"]
    assert speedrun.main(only_convert) == 2
    whole = (folder / "train.beton").read_bytes()
    capfd.readouterr()
    assert speedrun.main(only_convert) == 2
    assert "write_dataset.py" not in capfd.readouterr().out
    (folder / "train.beton").write_bytes(whole[:-1000])
    assert speedrun.main(only_convert) == 2
    assert "writing train.beton again" in capfd.readouterr().out
    assert (folder / "train.beton").read_bytes() == whole


def test_speedrun_without_data_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun, "DEBIAN_FOLDER", tmp_path / "absent")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match="install the package dataset-fashion-mnist"):
        speedrun.main(["--folder", str(tmp_path / "data")])
