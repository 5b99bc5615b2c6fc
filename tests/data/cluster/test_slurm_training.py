"""examples/slurm_train.sbatch on a real one-node Slurm: told to end, queued again, and the same weights at the end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.cluster.one_node_slurm import slurm as slurm
from tests.shapes import write_betons
from tests.train.conftest import ROOT, TINY, log_of, train_here


@pytest.mark.slow
def test_training_told_to_end_is_requeued_and_ends_alike(tmp_path: Path, slurm: dict[str, str]) -> None:
    train, val = write_betons(tmp_path / "shapes")
    data = {"data.train_dataset": train, "data.val_dataset": val, "logging.folder": tmp_path / "runs"}
    options = [f"--{key}={value}" for key, value in {**TINY, **data, "training.epochs": 24}.items()]
    code, whole = train_here([*options, "--logging.name=whole"])
    assert code == 0
    environment = {**slurm, "PYTHON": sys.executable, "OMP_NUM_THREADS": str(torch.get_num_threads())}

    def told(*ask: str) -> str:
        done = subprocess.run(ask, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    log, run = tmp_path / "log", tmp_path / "runs/again"
    submit = ["sbatch", "--parsable", f"--output={log}", f"--cpus-per-task={os.cpu_count()}", "--time=10"]
    job = told(*submit, "examples/slurm_train.sbatch", *options, "--logging.name=again")
    _wait(lambda: (run / "log.jsonl").exists() and len(log_of(run, "epoch")) >= 3, log)
    # As Slurm itself sends it before the time limit.
    told("scancel", "--signal=USR1", job)
    _wait(lambda: (run / "weights.pt").exists() and not told("squeue", "-h", "-j", job, "-o", "%t"), log)
    text = log.read_text()
    assert "saved after epoch" in text and "run the same command to resume" in text
    assert len(log_of(run, "epoch")) == 24
    ours, theirs = (torch.load(folder / "weights.pt", weights_only=True) for folder in (run, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _wait(ready: Callable[[], bool], log: Path) -> None:
    ends = time.monotonic() + 400
    while not ready():
        assert time.monotonic() < ends, log.read_text() if log.exists() else "the job has not begun"
        time.sleep(0.3)
