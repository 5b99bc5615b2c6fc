"""examples/slurm_train.sbatch on a real one-node Slurm: told to end, queued again, and the same weights at the end.

LIMIT in the environment: minutes of the time limit (default 3), where the start takes over two minutes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from tests.data.cluster.one_node_slurm import slurm as slurm
from tests.shapes import write_betons
from tests.train.conftest import ROOT, TINY, log_of, train_here

EPOCHS = 24


class Job:
    """The example, as its user submits it: a run of 24 epochs named `again`, beside the undisturbed run `whole`."""

    def __init__(self, folder: Path, options: list[str], environment: dict[str, str]) -> None:
        self.log, self.run = folder / "log", folder / "runs/again"
        self._folder, self._options, self._environment = folder, options, environment

    def submit(self, *words: str) -> str:
        """Its id."""
        submit = ["sbatch", "--parsable", f"--output={self.log}", f"--cpus-per-task={os.cpu_count()}", *words]
        return self.told(*submit, "examples/slurm_train.sbatch", *self._options, "--logging.name=again")

    def submit_urgent(self) -> str:
        """The id of a job of some seconds that needs the whole node and preempts the training."""
        return self.told(
            "sbatch",
            "--parsable",
            "--partition=urgent",
            "--exclusive",
            "--output=/dev/null",
            "--wrap=sleep 10",
        )

    def told(self, *ask: str) -> str:
        """What a program of Slurm prints."""
        done = subprocess.run(
            ask, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def wait(self, ready: Callable[[], bool]) -> None:
        ends = time.monotonic() + 600
        while not ready():
            assert time.monotonic() < ends, self.log.read_text() if self.log.exists() else "it has not begun"
            time.sleep(0.1)

    def wait_for_epochs(self, count: int) -> None:
        self.wait(lambda: (self.run / "log.jsonl").exists() and len(log_of(self.run, "epoch")) >= count)

    def check_end(self, job: str) -> None:
        """It was saved, has started again, and ends with the weights of the undisturbed run."""
        self.wait(
            lambda: (
                (self.run / "weights.pt").exists() and not self.told("squeue", "-h", "-j", job, "-o", "%t")
            )
        )
        text = self.log.read_text()
        assert "saved after epoch" in text and "run the same command to resume" in text
        assert len(log_of(self.run, "start")) >= 2 and len(log_of(self.run, "epoch")) == EPOCHS
        runs = (self.run, self._folder / "runs/whole")
        ours, theirs = (torch.load(run / "weights.pt", weights_only=True) for run in runs)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the run `whole`, and its options but for the name."""
    folder = tmp_path_factory.mktemp("training")
    train, val = write_betons(folder / "shapes")
    data = {"data.train_dataset": train, "data.val_dataset": val, "logging.folder": folder / "runs"}
    options = [f"--{key}={value}" for key, value in {**TINY, **data, "training.epochs": EPOCHS}.items()]
    assert train_here([*options, "--logging.name=whole"])[0] == 0
    return folder, options


@pytest.fixture
def job(undisturbed: tuple[Path, list[str]], slurm: dict[str, str]) -> Iterator[Job]:
    """The job, not submitted yet; its run is renamed at the end."""
    environment = {**slurm, "PYTHON": sys.executable, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    found = Job(*undisturbed, environment)
    yield found
    # Not there where the test has failed.
    with suppress(FileNotFoundError):
        found.run.rename(found.run.with_name(f"again-{time.monotonic_ns()}"))
        found.log.unlink()


@pytest.mark.slow
def test_training_told_to_end_is_requeued_and_ends_alike(job: Job) -> None:
    number = job.submit("--time=10")
    job.wait_for_epochs(3)
    job.told("scancel", "--signal=USR1", number)
    job.check_end(number)


@pytest.mark.slow
def test_training_at_its_time_limit_is_requeued_and_ends_alike(job: Job) -> None:
    """Slurm itself sends the signal, 60 s before the limit; the process is held still until then."""
    number = job.submit(f"--time={os.environ.get('LIMIT', '3')}", "--signal=USR1@60")
    job.wait_for_epochs(3)
    rank = _rank_of(number)
    # Where Slurm lets it go on by itself, it may have taken the signal already.
    with suppress(psutil.NoSuchProcess, FileNotFoundError):
        rank.send_signal(signal.SIGSTOP)
        job.wait(lambda: _pending(rank.pid) >> (signal.SIGUSR1 - 1) & 1 == 1)
        rank.send_signal(signal.SIGCONT)
    job.check_end(number)


@pytest.mark.slow
def test_training_preempted_by_another_job_is_requeued_and_ends_alike(job: Job) -> None:
    number = job.submit("--time=10")
    job.wait_for_epochs(3)
    urgent = job.submit_urgent()
    # It gets the node only when the training has left it.
    job.wait(lambda: job.told("squeue", "-h", "-j", urgent, "-o", "%t") == "R")
    assert not (job.run / "weights.pt").exists()
    assert job.told("squeue", "-h", "-j", number, "-o", "%t") != "R"
    job.check_end(number)


def _rank_of(job: str) -> psutil.Process:
    """The process that trains, which Slurm has given the job's number."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            trains = "train_imagenet.py" in process.cmdline() and process.name() != "srun"
            if trains and process.environ().get("SLURM_JOB_ID") == job:
                return process
    raise AssertionError(f"no process of job {job}")


def _pending(pid: int) -> int:
    """The mask of the signals that the process has been sent and has not taken."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("ShdPnd")), 16)
