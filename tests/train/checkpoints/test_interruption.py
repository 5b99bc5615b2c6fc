"""Signals: heeded at once, kept while something is saved, and no end of a process that is done."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.errors import EXIT_AGAIN, Interrupted
from engine.train.checkpoints.interruption import Interruption
from tests.train.conftest import ROOT


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_signal_is_raised_at_once_and_a_second_ignored() -> None:
    interruption = Interruption()
    with (
        interruption.watching(),
        pytest.raises(Interrupted, match="SIGUSR1, nothing was saved yet: start again"),
    ):
        os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert interruption.asked == "SIGUSR1"


def test_signal_during_a_deferred_block_is_raised_at_its_end() -> None:
    interruption, done = Interruption(), []
    with (
        interruption.watching(),
        pytest.raises(Interrupted, match="SIGTERM, saved after epoch 2, step 3: again"),
        interruption.deferred(),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        interruption.saved, interruption.again = "epoch 2, step 3", "again"
        done.append("all of it")
    assert done == ["all of it"]


# In C, where no handler of Python's runs: as a rank that waits for one that never comes. It is C that says "ready", so
# that the signal can't come before; and it goes to another thread, for what interrupts a wait might end it.
WAITING = """
import ctypes, signal
from engine.errors import run_cli
from engine.train.checkpoints.interruption import Interruption
def main():
    with Interruption().watching():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ctypes.CDLL(None).system(b"echo ready; exec sleep 20 >/dev/null 2>&1")
run_cli(main)
"""


def test_signal_ends_a_process_that_waits_in_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (EXIT_AGAIN, "interrupted: SIGTERM\n")


def test_signal_after_the_run_is_ignored() -> None:
    code = (
        "import os, signal\nfrom engine.train.checkpoints.interruption import Interruption\n"
        "with Interruption().watching():\n    pass\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nos.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
