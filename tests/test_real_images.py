"""The whole way on real photographs: CIFAR-10 and ImageNet photos through the same two scripts as any user's."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.conftest import log_of

ROOT = Path(__file__).resolve().parents[1]


def _run(script: str, *options: object) -> None:
    command = [sys.executable, str(ROOT / script), *(str(option) for option in options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_cifar10_converts_and_trains(cifar10: Path, tmp_path: Path) -> None:
    source = [f"--source.path={cifar10}", "--source.val_folder=test", f"--output.folder={tmp_path}"]
    _run("write_dataset.py", *source)
    data = [f"--data.train_dataset={tmp_path}/train.beton", f"--data.val_dataset={tmp_path}/val.beton"]
    run = [f"--logging.folder={tmp_path}/runs", "--logging.name=cifar10"]
    small = ["--training.epochs=4", "--training.batch_size=50", "--lr.lr=0.1", "--budget.target_top1=0"]
    _run("train_imagenet.py", "-C", "rn50_configs/demo.yaml", *data, *run, *small, "--budget.minutes=0")
    folder = tmp_path / "runs" / "cifar10"
    (start,), (result,) = log_of(folder, "start"), log_of(folder, "result")
    assert (start["num_train"], start["num_val"], start["num_classes"]) == (600, 200, 10)
    assert result["top1"] > 0.15, "ten classes, 600 images, 4 epochs: above chance is all to expect"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jpeg", "proportion"])
def test_resnet50_recipe_trains_three_steps_in_each_format(photos: Path, tmp_path: Path, mode: str) -> None:
    output = [f"--output.folder={tmp_path}", f"--output.format={mode}", "--output.subset=12"]
    _run("write_dataset.py", f"--source.path={photos}", *output)
    data = [f"--data.train_dataset={tmp_path}/train.beton", f"--data.val_dataset={tmp_path}/val.beton"]
    run = [f"--logging.folder={tmp_path}/runs", f"--logging.name={mode}", "--training.device=cpu"]
    small = ["--training.batch_size=4", "--training.epochs=1", "--lr.lr_peak_epoch=0.5", "--lr.lr=0.001"]
    _run("train_imagenet.py", "-C", "rn50_configs/rn50_16_epochs.yaml", *data, *run, *small)
    (epoch,) = log_of(tmp_path / "runs" / mode, "epoch")
    assert epoch["images"] == 12
    assert epoch["train_loss"] < 20
