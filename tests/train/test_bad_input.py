"""What a user can get wrong when training: each one line on stderr, exit code 2, nothing left behind, no hang."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shapes import CLASSES, write_betons
from tests.train.conftest import Launch, log_of

Options = Callable[..., list[str]]


def _refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training__epoch": 3}, ["unknown option 'training.epoch'", "did you mean 'training.epochs'"]),
        ({"resolution__min_res": 0}, ["resolution.min_res", "at least 8"]),
        ({"training__epochs": "many"}, ["training.epochs", "'many'", "whole number"]),
        ({"model__arch": "resnet5o"}, ["no network 'resnet5o'", "resnet50"]),
        ({"data__train_dataset": "/nowhere/train.beton"}, ["/nowhere/train.beton", "does not exist"]),
        pytest.param({"data__val_dataset": "/tmp"}, ["/tmp", "is not a file"], marks=pytest.mark.slow),
        pytest.param(
            {"training__batch_size": 1000}, ["more than the 96 training samples"], marks=pytest.mark.slow
        ),
        ({"resolution__min_res": 64, "resolution__max_res": 32}, ["is above resolution.max_res"]),
        ({"training__eval_only": True}, ["model.weights"]),
        pytest.param(
            {"model__weights": "/nowhere/w.pt"}, ["/nowhere/w.pt", "does not exist"], marks=pytest.mark.slow
        ),
        pytest.param({"training__device": "cuda"}, ["torch sees no GPU", "doctor"], marks=pytest.mark.slow),
    ],
)
def test_bad_option_is_one_error_line(
    options: Options, launch: Launch, tmp_path: Path, change: dict[str, object], words: list[str]
) -> None:
    if change == {"training__device": "cuda"} and _has_gpu():
        pytest.skip("this machine has a GPU")
    _refused(launch(options(**change)), *words)
    assert not (tmp_path / "runs").exists()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def test_text_file_as_data_is_one_error_line(options: Options, launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "notes.beton"
    path.write_text("shopping list " * 1000)
    _refused(launch(options(data__train_dataset=path)), str(path))


@pytest.mark.slow
def test_truncated_beton_is_one_error_line(
    options: Options, launch: Launch, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "cut.beton"
    path.write_bytes(betons[0].read_bytes()[: betons[0].stat().st_size // 2])
    _refused(launch(options(data__train_dataset=path)), str(path))


def test_different_classes_in_train_and_val_are_refused(
    options: Options, launch: Launch, tmp_path: Path
) -> None:
    other = write_betons(tmp_path / "other", train=12, val=6, classes=(*CLASSES[:5], "green"))
    _refused(launch(options(data__val_dataset=other[1])), "different classes", "'fawn'", "'green'")


@pytest.mark.slow
def test_unwritable_run_folder_is_one_error_line(options: Options, launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _refused(launch(options(logging__folder=tmp_path / "file" / "runs")), str(tmp_path / "file"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, less than one checkpoint takes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_full_disk_is_one_error_line_and_leaves_no_partial_checkpoint(
    options: Options, launch: Launch, small_disk: Path
) -> None:
    done = launch(options(logging__folder=small_disk, logging__name="full"))
    assert done.returncode == 2
    assert "the disk is full" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(small_disk / "full" / "checkpoints") == []
    assert len(log_of(small_disk / "full", "start")) == 1, "the log of what was done is whole"
