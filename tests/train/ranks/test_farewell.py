"""The message of a rank whose connection breaks: which rank was killed, and which gave its own reason."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from torch.distributed import DistBackendError, HashStore, Store  # type: ignore[attr-defined]

from engine.errors import Interrupted, UserError
from engine.train.ranks import farewell
from engine.train.ranks.farewell import Farewells, Process, own_process
from engine.train.ranks.group import _told
from engine.train.ranks.heartbeat import sign_of

ELSEWHERE = Process("elsewhere", 4711)


@pytest.fixture
def other() -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def _short_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "BEAT", 0.001)


def _here(process: "subprocess.Popen[bytes]") -> Process:
    return Process(os.uname().nodename, process.pid)


@pytest.mark.parametrize("reaped", [False, True])
def test_killed_rank_is_named(reaped: bool, other: "subprocess.Popen[bytes]") -> None:
    farewells = Farewells(0, [own_process(), _here(other)], HashStore())
    assert farewells.gone(wait=False) == ""
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
    assert farewells.gone(wait=False) == (
        f"rank 1 (process {other.pid} on {os.uname().nodename}) was killed: it left no message, as after SIGKILL, "
        "often for lack of memory (`dmesg` tells); start the same command again; a run with --training.resume=auto "
        "goes on from its last checkpoint"
    )


def test_rank_that_left_a_note_has_told_why(other: "subprocess.Popen[bytes]") -> None:
    processes, store = [own_process(), _here(other)], HashStore()
    farewells = Farewells(0, processes, store)
    Farewells(1, processes, store).leave()
    other.kill()
    other.wait()
    assert farewells.gone(wait=False) == "", "a signal to all ranks ends them one after the other"
    words = f"rank 1 (process {other.pid} on {os.uname().nodename}) stopped; its own message says why"
    assert farewells.gone(wait=True) == words


def test_rank_on_another_host_is_gone_without_a_heartbeat() -> None:
    class Beating(HashStore):
        beats = 0

        def get(self, key: str) -> bytes:
            self.beats += 1
            return b"same" if key == sign_of(2) else str(self.beats).encode()

    farewells = Farewells(0, [own_process(), ELSEWHERE, ELSEWHERE], Beating())
    assert farewells.gone(wait=False) == ""
    assert farewells.gone(wait=True).startswith("rank 2 (process 4711 on elsewhere) was killed: ")


class _Gone(Store):
    def get(self, key: str) -> bytes:
        raise RuntimeError("Connection reset by peer")

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError("Connection reset by peer")

    def set(self, key: str, value: str) -> None:
        raise RuntimeError("Connection reset by peer")


def test_first_rank_that_took_the_store_along_may_have_told_why() -> None:
    farewells = Farewells(1, [ELSEWHERE, own_process()], _Gone())
    farewells.leave()
    assert farewells.gone(wait=True).startswith(
        "rank 0 (process 4711 on elsewhere) ended: its own message says why, or it was killed: "
    )


def test_error_after_a_killed_rank_tells_of_it(other: "subprocess.Popen[bytes]") -> None:
    farewells = Farewells(0, [own_process(), _here(other)], HashStore())
    bug, user_error, asked = ZeroDivisionError(), UserError("x"), Interrupted("SIGTERM, saved")
    other.kill()
    other.wait()
    assert _told(bug, 0, farewells) is bug and _told(user_error, 0, farewells) is user_error
    told = _told(asked, 0, farewells)
    assert isinstance(told, Interrupted) and str(told).startswith("SIGTERM, saved; rank 1 (process ")
    for text in ("[pair.cc:547] Connection closed by peer [127.0.0.1]", "Broken pipe"):
        told = _told(RuntimeError(text), 0, farewells)
        assert isinstance(told, UserError) and " was killed: " in str(told)
    other_error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert _told(other_error, 0, farewells) is other_error


def test_failed_connection_names_its_cause_where_all_ranks_run() -> None:
    class Beating(HashStore):
        beats = 0

        def get(self, key: str) -> bytes:
            self.beats += 1
            return str(self.beats).encode()

    farewells = Farewells(1, [ELSEWHERE, own_process()], Beating())
    told = _told(DistBackendError("[nccl.cpp:1] NCCL error: Duplicate GPU detected\nmore"), 1, farewells)
    assert isinstance(told, UserError) and "\n" not in str(told)
    assert str(told).startswith(
        "rank 1: the connection to the other ranks failed, though all of them run (NCCL error: Duplicate GPU detected)"
    )
    asked = Interrupted("SIGTERM")
    assert _told(asked, 1, farewells) is asked
