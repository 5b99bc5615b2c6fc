"""Conversion by a real Dask cluster: by the command's own workers, and by those of a scheduler, killed at random."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import pytest

from engine.data.cluster.sharded_conversion import convert_in_shards
from engine.errors import UserError
from tests.data.cluster.conftest import in_shards
from tests.data.cluster.kills import enough_shards, run_killed, shard_processes
from tests.data.conftest import ROOT, command
from tests.data.conversions import converted, names

distributed = pytest.importorskip("distributed")


def test_scheduler_that_does_not_answer_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.data.cluster.dask._ANSWER_SECONDS", 0.5)
    config = in_shards(pets, tmp_path / "out", on="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        convert_in_shards(config)


def test_missing_package_is_named(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"run\.on=dask needs distributed, which is not installed: pip install"
    ):
        convert_in_shards(in_shards(pets, tmp_path / "out", on="dask"))


@pytest.mark.slow
def test_shards_on_workers_of_this_machine(pets: Path, tmp_path: Path) -> None:
    whole = converted(pets, tmp_path / "whole", order="shuffled")
    convert_in_shards(in_shards(pets, tmp_path / "out", on="dask", shards=2, workers=2))
    assert _result(tmp_path / "out") == whole


class Workers:
    """Two worker processes of a scheduler; one that was killed is replaced, as a cluster's manager does."""

    def __init__(self, scheduler: str, folder: Path, log: BinaryIO) -> None:
        self._command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny"]
        self._command += ["--nthreads=1", "--no-dashboard", f"--local-directory={folder}"]
        self._log = log
        self._running = [self._start(), self._start()]

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(self._command, env=environment, stdout=self._log, stderr=self._log)

    def victims(self, _: int) -> list[tuple[str, int]]:
        """They, their shards and the encoding processes of these."""
        self._running = [self._start() if one.poll() is not None else one for one in self._running]
        pids = [one.pid for one in self._running]
        return [("worker", pid) for pid in pids] + [one for pid in pids for one in shard_processes(pid)]

    def end(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()


@pytest.mark.slow
def test_random_kills_of_dask_workers_change_no_byte(pets: Path, tmp_path: Path) -> None:
    kills = int(os.environ.get("KILLS", "4"))
    killed = killed_at_random(pets, tmp_path, kills)
    print(killed)
    assert killed.total() == kills


def killed_at_random(pets: Path, folder: Path, kills: int) -> Counter[str]:
    """Convert on two workers, as they, their shards or encoding processes are killed; what was."""
    shards = enough_shards(kills, pets)
    whole = converted(pets, folder / "whole", order="shuffled")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=50) as cluster,
        open(folder / "workers.log", "wb") as log,
    ):
        scheduler = cluster.scheduler_address
        options = [
            f"source.path={pets}",
            f"output.folder={folder}/out",
            "output.num_workers=2",
            "run.on=dask",
        ]
        options += [f"run.scheduler={scheduler}", f"run.shards={shards}"]
        workers = Workers(scheduler, folder, log)
        try:
            begun = folder / "out/shards/conversion.json"
            killed = run_killed(command(*options), workers.victims, kills, seconds=2, begun=begun)
        finally:
            workers.end()
    assert names(folder / "out") == ["train.beton", "val.beton"]
    assert _result(folder / "out") == whole
    return killed


def _result(folder: Path) -> dict[str, bytes]:
    return {split: (folder / f"{split}.beton").read_bytes() for split in ("train", "val")}
