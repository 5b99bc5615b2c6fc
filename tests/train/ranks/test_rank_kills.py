"""Ranks killed at random, on one host and on two: the job is restarted by torchrun and comes to the same weights.

KILLS in the environment: the number of kills in each test (default 1; 20 is a thorough check).
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from engine.train.checkpoints import store
from tests.train.conftest import ROOT, Launch, log_of
from tests.train.ranks.two_hosts import MAIN, NETWORK
from tests.train.ranks.two_hosts import hosts as hosts

KILLS = int(os.environ.get("KILLS", "1"))

Options = Callable[..., list[str]]


def _launcher(*words: str) -> list[str]:
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--max-restarts={3 * KILLS}",
        "--monitor-interval=0.2",
    ]
    return [*torchrun, *words, str(ROOT / "train_imagenet.py")]


def _start(command: list[str], output: Path, **environment: str) -> "subprocess.Popen[bytes]":
    with open(output, "wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=file, stderr=file
        )


def _ranks(agents: "list[subprocess.Popen[bytes]]") -> list[psutil.Process]:
    """The processes that train, of those under torchrun's own."""
    found = []
    for agent in agents:
        try:
            for child in psutil.Process(agent.pid).children(recursive=True):
                if "train_imagenet.py" in " ".join(child.cmdline()) and "RANK" in child.environ():
                    found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill_at_random(
    agents: "list[subprocess.Popen[bytes]]", folder: Path, draws: random.Random
) -> list[float]:
    """Kill a rank that has come further than the last time; returns how long each restart took to train again."""
    took = []
    for _ in range(KILLS):
        before = _newest(folder)
        _wait(lambda before=before: _newest(folder) > before, agents)  # type: ignore[misc]
        time.sleep(draws.uniform(0, 0.3))
        killed = draws.choice(_ranks(agents))
        before, at = _newest(folder), time.monotonic()
        killed.kill()
        _wait(lambda killed=killed: not killed.is_running(), agents)  # type: ignore[misc]
        # Ended or started again, all of them, within 30 s.
        others = {rank.pid for rank in _ranks(agents)} - {killed.pid}
        _wait(lambda: bool(new := {r.pid for r in _ranks(agents)}) and not new & others, agents, limit=30)  # noqa: B023
        took.append(time.monotonic() - at)
    return took


def _newest(folder: Path) -> tuple[int, ...]:
    paths = store.newest(folder)
    return store.place_of(paths[0].name) if paths else (0, 0)


def _wait(until: Callable[[], bool], agents: "list[subprocess.Popen[bytes]]", limit: float = 120) -> None:
    deadline = time.monotonic() + limit
    while not until():
        assert all(agent.poll() in (None, 0) for agent in agents), "torchrun gave up"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _same_end(options: Options, launch: Launch, run: Path, changes: dict[str, Any]) -> None:
    """Losses and weights are those of an undisturbed run on two ranks, to the bit, and nothing is left behind."""
    done = launch(options(**{**changes, "logging__name": "undisturbed"}), ranks=2)
    assert done.returncode == 0, done.stderr
    first, second = (
        {entry["epoch"]: (entry["train_loss"], entry["images"]) for entry in log_of(folder, "epoch")}
        for folder in (run.with_name("undisturbed"), run)
    )
    assert first == second
    weights = [
        torch.load(folder / "weights.pt", weights_only=True) for folder in (run.with_name("undisturbed"), run)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not list(run.glob("checkpoints/*.partial-*"))


def _changes(epochs: int) -> dict[str, Any]:
    return {
        "training__epochs": epochs,
        "training__resume": "auto",
        "logging__name": "killed",
        "checkpoint__every_minutes": 1e-9,
        "lr__lr": 0.001,
        "training__batch_size": 8,
    }


@pytest.mark.slow
def test_randomly_killed_ranks_restart_and_lose_nothing(
    options: Options, launch: Launch, tmp_path: Path
) -> None:
    changes = _changes(6 + 3 * KILLS)
    words = [*_launcher("--standalone", "--nproc-per-node=2"), *options(**changes)]
    agent = _start(words, tmp_path / "output")
    folder = tmp_path / "runs" / "killed"
    try:
        took = _kill_at_random([agent], folder, random.Random(KILLS))
        assert agent.wait(timeout=300) == 0
    finally:
        agent.kill()
        agent.wait()
    print(
        f"{KILLS} kills; seconds until all ranks were new ones: {', '.join(f'{seconds:.1f}' for seconds in took)}"
    )
    assert len(log_of(folder, "start")) == KILLS + 1
    _same_end(options, launch, folder, changes)


def _on_two_hosts(hosts: list[list[str]], argv: list[str], folder: Path) -> "list[subprocess.Popen[bytes]]":
    agents = []
    for number, host in enumerate(hosts, start=1):
        words = [
            "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=1",
            f"--rdzv-endpoint={MAIN}:29400", f"--local-addr=10.73.0.{number}",
            f"--rdzv-conf=join_timeout=60,last_call_timeout=1,is_host={int(number == 1)}",
        ]  # fmt: skip
        agents.append(_start([*host, *_launcher(*words), *argv], folder / f"output{number}", **NETWORK))
    return agents


@pytest.mark.slow
def test_randomly_killed_ranks_on_two_hosts_lose_nothing(
    options: Options, launch: Launch, hosts: list[list[str]], tmp_path: Path
) -> None:
    changes = _changes(6 + 3 * KILLS)
    agents = _on_two_hosts(hosts, options(**changes), tmp_path)
    folder = tmp_path / "runs" / "killed"
    try:
        took = _kill_at_random(agents, folder, random.Random(KILLS))
        assert [agent.wait(timeout=300) for agent in agents] == [0, 0]
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
    print(
        f"{KILLS} kills; seconds until all ranks were new ones: {', '.join(f'{seconds:.1f}' for seconds in took)}"
    )
    assert {start["world_size"] for start in log_of(folder, "start")} == {2}
    _same_end(options, launch, folder, changes)


@pytest.mark.slow
def test_host_without_network_ends_the_other_one(
    options: Options, hosts: list[list[str]], tmp_path: Path
) -> None:
    """No connection is closed: only the heartbeat can tell."""
    agents = _on_two_hosts(hosts, options(**_changes(2000)), tmp_path)
    try:
        _wait(lambda: _newest(tmp_path / "runs" / "killed") > (1, 0), agents)
        ranks = {rank.pid for rank in _ranks(agents)}
        assert len(ranks) == 2
        subprocess.run(["ip", "-n", hosts[1][-1], "link", "set", "eth0", "down"], check=True)
        begun = time.monotonic()
        while any(_lives(rank) for rank in ranks):
            assert time.monotonic() - begun < 30
            time.sleep(0.2)
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
        for rank in _ranks(agents):
            rank.kill()
