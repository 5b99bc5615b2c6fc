"""Conversion as array jobs of a real one-node Slurm: tasks cancelled, queued again and killed.

KILLS in the environment: the number of random kills (default 3; 20 is a thorough check).
"""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from engine.data.cluster.sharded_conversion import convert_in_shards
from engine.data.sources import Split
from engine.errors import UserError
from tests.data.cluster.conftest import in_shards
from tests.data.cluster.kills import Victims, enough_shards, run_killed, shard_processes
from tests.data.cluster.one_node_slurm import slurm as slurm
from tests.data.conftest import command
from tests.data.conversions import converted, names

pytest.importorskip("submitit")


def test_machine_without_slurm_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"run\.on=slurm: squeue does not work here"):
        convert_in_shards(in_shards(pets, tmp_path / "out", on="slurm"))


def test_missing_package_is_named(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"run\.on=slurm needs submitit, which is not installed: pip install"):
        convert_in_shards(in_shards(pets, tmp_path / "out", on="slurm"))


class Driver:
    """The command, as its user starts it."""

    def __init__(self, source: Path, folder: Path, environment: dict[str, str], sbatch: str = "") -> None:
        options = [f"source.path={source}", f"output.folder={folder}/out", "output.num_workers=1"]
        options += ["run.on=slurm", "run.shards=3", "run.workers=2", f"run.sbatch={sbatch}"]
        self.log, self._environment, self._folder = folder / "log", environment, folder
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command(*options), stdout=log, stderr=log, env=environment)

    def told(self, *ask: str) -> list[str]:
        """The lines that a program of Slurm prints."""
        done = subprocess.run(
            ask, env=self._environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.split("\n")[:-1]

    def running(self) -> list[str]:
        """Ids of the array tasks that run."""
        return self.told("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i")

    def wait_for_images(self, others_than: str = "") -> str:
        """The id of a task whose shard has got somewhere, and is not finished."""
        shards, jobs = self._folder / "out/shards", self._folder / "out/slurm/jobs.json"
        ends = time.monotonic() + 120
        while time.monotonic() < ends and self.process.poll() is None:
            of_shard = json.loads(jobs.read_text()) if jobs.exists() else {}
            running = self.running()
            for shard, job in of_shard.items():
                name = shard.replace("/", "-of-")
                begun, done = shards / f"{name}.progress", shards / f"{name}.done"
                if job in running and job != others_than and begun.exists() and not done.exists():
                    return str(job)
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def wait(self, code: int = 0) -> str:
        """What it has printed once it has ended."""
        assert self.process.wait(200) == code, self.log.read_text()
        return self.log.read_text()


@pytest.fixture
def many(pets: Path) -> Path:
    """So many images that a shard takes some seconds."""
    for number in range(6000):
        shutil.copy(pets / f"train/cat/{number % 25:03d}.jpg", pets / f"train/dog/more{number}.jpg")
    return pets


def check(folder: Path, whole: dict[Split, bytes]) -> None:
    assert {split: (folder / f"out/{split}.beton").read_bytes() for split in ("train", "val")} == whole
    assert names(folder / "out") == ["slurm", "train.beton", "val.beton"]


@pytest.mark.slow
def test_cancelled_and_requeued_tasks_change_no_byte(
    many: Path, tmp_path: Path, slurm: dict[str, str]
) -> None:
    whole = converted(many, tmp_path / "whole", order="shuffled")
    driver = Driver(many, tmp_path, slurm)
    first = driver.wait_for_images()
    driver.told("scancel", first)
    second = driver.wait_for_images(first)
    driver.told("scontrol", "requeue", second)
    driver.wait()
    check(tmp_path, whole)


@pytest.mark.slow
def test_command_is_left_and_given_again(many: Path, tmp_path: Path, slurm: dict[str, str]) -> None:
    """The jobs go on meanwhile, and none is submitted twice."""
    whole = converted(many, tmp_path / "whole", order="shuffled")
    driver = Driver(many, tmp_path, slurm)
    driver.wait_for_images()
    jobs = json.loads((tmp_path / "out/slurm/jobs.json").read_text())
    driver.process.send_signal(signal.SIGINT)
    said = driver.wait(130)
    assert "the same command watches them again, `scancel" in said
    assert driver.running()
    again = Driver(many, tmp_path, slurm)
    again.wait()
    arrays = {job.partition("_")[0] for job in jobs.values()}
    submitted = {path.name.partition("_")[0] for path in (tmp_path / "out/slurm").glob("*_submission.sh")}
    assert submitted == arrays
    check(tmp_path, whole)


@pytest.mark.slow
def test_random_kills_of_slurm_tasks_change_no_byte(
    pets: Path, tmp_path: Path, slurm: dict[str, str]
) -> None:
    begun, kills = tmp_path / "out/shards/conversion.json", int(os.environ.get("KILLS", "3"))
    shards = enough_shards(kills, pets)
    whole = converted(pets, tmp_path / "whole", order="shuffled")
    options = [f"source.path={pets}", f"output.folder={tmp_path}/out", "output.num_workers=2", "run.on=slurm"]
    # Tasks may run side by side even on one core.
    options += [f"run.shards={shards}", "run.workers=2", "run.sbatch=--cpus-per-task=1 --oversubscribe"]
    config = f"SLURM_CONF={slurm['SLURM_CONF']}"
    words = ["env", config, *command(*options)]
    killed = run_killed(words, _tasks(slurm["SLURM_CONF"]), kills, seconds=4, begun=begun)
    print(killed)
    assert killed.total() == kills
    check(tmp_path, whole)


def _tasks(config: str) -> Victims:
    """The array tasks of this Slurm, their shards' processes and the encoding processes of these."""

    def found(_: int) -> list[tuple[str, int]]:
        victims = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if (
                    "submitit.core._submit" in process.cmdline()
                    and process.environ().get("SLURM_CONF") == config
                    and process.name() not in ("srun", "slurmstepd")
                ):
                    victims += [("task", process.pid), *shard_processes(process.pid)]
        return victims

    return found
