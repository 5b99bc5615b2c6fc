"""Real ranks under torchrun on the CPU (gloo): the same samples and weights, and errors end every rank."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.train.conftest import ROOT, Launch, command, log_of

Options = Callable[..., list[str]]


def test_two_ranks_train_all_samples_and_agree_on_weights(options: Options, launch: Launch) -> None:
    done = launch(options(training__epochs=3, logging__name="two"), ranks=2)
    assert done.returncode == 0, done.stderr
    folder = Path(next(word for word in done.args if "logging.folder" in word).split("=")[1]) / "two"
    (start,) = log_of(folder, "start")
    assert (start["world_size"], start["global_batch"], start["device_batch"]) == (2, 16, 8)
    assert [entry["images"] for entry in log_of(folder, "epoch")] == [96, 96, 96]
    assert log_of(folder, "epoch")[-1]["train_loss"] < log_of(folder, "epoch")[0]["train_loss"]
    assert done.stdout.count("verdict") == 1, "rank 0 alone talks"


@pytest.mark.slow
def test_weights_are_independent_of_how_the_batch_is_split(options: Options, tmp_path: Path) -> None:
    """1 rank at once, 1 rank x 4 accumulated batches and 2 ranks x 2 of them agree to rounding.

    Every other step is one of SAM's, and gradients are clipped: both are about the global batch's gradient.
    """
    trained, techniques = (
        {},
        {"training__sam_rho": 0.2, "training__sam_interval": 2, "training__clip_norm": 1},
    )
    for ranks, limit, accumulation in ((1, 0, 1), (1, 4, 4), (2, 4, 2)):
        weights = tmp_path / f"{ranks}-{limit}.pt"
        argv = [*options(training__device_batch_size=limit, lr__lr=0.5, **techniques), str(weights)]
        done = subprocess.run(
            command(argv, ranks, script="tests/train/train_plain_net.py"),
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"accumulation {accumulation}," in done.stdout
        trained[ranks, limit] = torch.load(weights, weights_only=True)
    whole = trained[1, 0]
    for split in ((1, 4), (2, 4)):
        for name, value in whole.items():
            torch.testing.assert_close(trained[split][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_corrupt_sample_ends_every_rank_with_its_reason(
    options: Options, betons: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged = _damage(betons[0], tmp_path / "damaged.beton")
    started = time.monotonic()
    process = subprocess.Popen(
        command(options(data__train_dataset=damaged), ranks=2),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "can't be used: its bytes have changed since they were written" in errors
    assert "damaged.beton: sample " in errors
    assert time.monotonic() - started < 90


@pytest.mark.slow
def test_killed_rank_ends_the_others(options: Options) -> None:
    process = subprocess.Popen(
        command(options(training__epochs=500, logging__name="long", lr__lr=0.001), ranks=2),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = Path(next(word for word in process.args if "logging.folder" in word).split("=")[1])  # type: ignore[union-attr, operator, arg-type]
    deadline = time.monotonic() + 240
    while not (folder / "long" / "checkpoints" / "last.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    ranks = [child for child in psutil.Process(process.pid).children() if "RANK" in child.environ()]
    assert len(ranks) == 2
    killed = ranks[1].environ()["RANK"]
    os.kill(ranks[1].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=90)
    assert process.returncode != 0
    named = (
        f"rank {killed} (process {ranks[1].pid} on " in errors and "was killed: it left no message" in errors
    )
    # torchrun may end the other rank before it has noticed; then torchrun's own summary names the killed one.
    assert named or f"Signal 9 (SIGKILL) received by PID {ranks[1].pid}" in errors
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


def _damage(path: Path, copy: Path) -> Path:
    """A copy with the JPEG data of every stored JPEG overwritten in its middle."""
    from engine.data.beton.reader import open_beton
    from engine.data.storage import JPEG

    beton = open_beton(path)
    content = bytearray(path.read_bytes())
    for record, size in zip(beton.images, beton.sizes, strict=True):
        if record["mode"] == JPEG.mode:
            middle = int(record["data_ptr"]) + int(size) // 2
            content[middle : middle + 20] = b"\xff\xd9" * 10
    copy.write_bytes(content)
    return copy


@pytest.mark.slow
def test_more_ranks_than_images_are_refused_by_all(options: Options, launch: Launch) -> None:
    done = launch(options(training__batch_size=1), ranks=2)
    assert done.returncode != 0
    assert "training.batch_size 1 (global) does not divide over 2 processes: use 2" in done.stderr


@pytest.mark.gpu
def test_one_rank_under_torchrun_trains_on_the_gpu(options: Options, launch: Launch) -> None:
    done = launch(options(training__device="cuda", training__precision="auto"), ranks=1)
    assert done.returncode == 0, done.stderr
    assert torch.cuda.is_available()
