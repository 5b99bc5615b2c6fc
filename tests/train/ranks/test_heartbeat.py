"""A rank that is gone without a word, or hangs, ends the others within seconds; one that leaves in order does not."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest
from torch.distributed import Store  # type: ignore[attr-defined]

from engine.train.ranks.heartbeat import Heartbeat
from tests.train.conftest import ROOT

WORLD = 3


@pytest.fixture
def ranks() -> "Iterator[list[subprocess.Popen[str]]]":
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.beating", str(rank), str(WORLD), str(port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout and process.stdout.readline() == "up\n"
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def said_by(process: "subprocess.Popen[str]") -> str:
    """Its errors."""
    assert process.stderr is not None
    return process.stderr.read()


@pytest.mark.slow
def test_stopped_rank_ends_the_others(ranks: "list[subprocess.Popen[str]]") -> None:
    # As from a host that lost power: its connections stay, and nothing comes over them.
    ranks[2].send_signal(signal.SIGSTOP)
    for rank in (0, 1):
        assert ranks[rank].wait(timeout=30) == 2
        said = said_by(ranks[rank])
        assert (
            f"error: rank {rank}: rank 2 is gone (no sign of life for 1.5 s): start the same command again"
            in said
        )
        assert "Traceback" not in said


@pytest.mark.slow
def test_lost_store_ends_the_other_ranks(ranks: "list[subprocess.Popen[str]]") -> None:
    ranks[0].kill()
    for rank in (1, 2):
        assert ranks[rank].wait(timeout=60) == 2
        assert f"error: rank {rank}: the first rank's host is gone (" in said_by(ranks[rank])


def test_ranks_that_close_in_order_exit_0(ranks: "list[subprocess.Popen[str]]") -> None:
    # All at once, as behind a barrier: a rank that ends slowly must not count as lost while the others still watch.
    for process in ranks:
        assert process.stdin
        process.stdin.write("close\n")
        process.stdin.flush()
    for process in ranks:
        assert process.stdout and process.stdout.readline() == "closed\n"
    for process in reversed(ranks):
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out, errors) == (0, "", "")


def test_closed_heartbeat_makes_no_more_store_calls() -> None:
    class Slow:
        calls, asked = 0, threading.Event()

        def set(self, key: str, value: str) -> None:
            return

        def get(self, key: str) -> bytes:
            self.calls += 1
            self.asked.set()
            time.sleep(0.3)
            self.calls -= 1
            return b"0"

    store = Slow()
    heartbeat = Heartbeat(cast(Store, store), 0, 1, beat=1.0, patience=30.0)
    assert store.asked.wait(30)
    heartbeat.close()
    assert store.calls == 0 and not any(thread.name == "heartbeat" for thread in threading.enumerate())


@pytest.mark.slow
def test_silent_store_host_ends_the_other_ranks(
    ranks: "list[subprocess.Popen[str]]",
) -> None:
    # Its store's connections stay open, and whoever asks it just waits.
    ranks[0].send_signal(signal.SIGSTOP)
    for rank in (1, 2):
        assert ranks[rank].wait(timeout=30) == 2
        assert "the first rank's host is gone (no answer for 1.5 s)" in said_by(ranks[rank])
