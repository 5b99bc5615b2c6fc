"""examples/torchrun_hosts.sh on two hosts in network namespaces: the weights are those of two processes on one host."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.train.conftest import ROOT, Launch, log_of
from tests.train.ranks.two_hosts import MAIN, NETWORK
from tests.train.ranks.two_hosts import hosts as hosts


@pytest.mark.slow
def test_two_hosts_train_as_one_and_survive_a_kill(
    options: Callable[..., list[str]], launch: Launch, hosts: list[list[str]], tmp_path: Path
) -> None:
    def argv(name: str) -> list[str]:
        return options(training__epochs=6, logging__folder=tmp_path / "runs", logging__name=name)

    settings = {
        **os.environ,
        **NETWORK,
        "PYTHON": sys.executable,
        "MAIN": MAIN,
        "HOSTS": "2",
        "PROCESSES": "1",
    }
    run, agents = tmp_path / "runs/hosts", []
    try:
        for number, host in enumerate(hosts):
            with open(tmp_path / f"output{number}", "wb") as log:
                agents.append(
                    subprocess.Popen(
                        [*host, "examples/torchrun_hosts.sh", *argv("hosts")],
                        cwd=ROOT, stdout=log, stderr=log, env={**settings, "NODE": str(number)},
                    )
                )  # fmt: skip
        ends = time.monotonic() + 600
        while not (run / "log.jsonl").exists() or len(log_of(run, "epoch")) < 2:
            assert time.monotonic() < ends, (tmp_path / "output0").read_text()
            time.sleep(0.1)
        # torchrun is the agent itself, and its child the rank.
        psutil.Process(agents[1].pid).children()[0].kill()
        assert [agent.wait(timeout=300) for agent in agents] == [0, 0], (tmp_path / "output1").read_text()
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
    assert [start["world_size"] for start in log_of(run, "start")] == [2, 2]
    assert launch(argv("one"), ranks=2, timeout=600).returncode == 0
    ours, theirs = (
        torch.load(tmp_path / f"runs/{name}/weights.pt", weights_only=True) for name in ("hosts", "one")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
