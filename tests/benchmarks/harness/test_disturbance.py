"""A disturbance takes CPU time from others, and ends with its block or with its process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.harness.disturbance import Disturbance, timed_run

ROOT = Path(__file__).resolve().parents[3]

# Prints the number of its busy process, then waits to be killed.
_PARENT = """
import sys, time
from benchmarks.harness.disturbance import Disturbance
with Disturbance([int(sys.argv[1])]) as disturbance:
    print(disturbance.processes[0].pid, flush=True)
    time.sleep(60)
"""


def _core() -> int:
    return max(os.sched_getaffinity(0))


def _ends(pid: int, within: float = 5) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_disturbance_takes_cpu_and_ends_with_its_block() -> None:
    with Disturbance([_core()]) as disturbance:
        (process,) = disturbance.processes
        time.sleep(0.8)
        assert process.cpu_affinity() == [_core()]
        pid = process.pid
    assert not psutil.pid_exists(pid)
    facts = disturbance.facts
    # Others, such as the test processes of a parallel run, may need this core too.
    assert facts["cores"] == [_core()] and 0.1 < facts["share_taken"] <= 0.6
    assert 0.8 <= facts["seconds"] < 10


def test_disturbance_ends_after_an_error_in_its_block() -> None:
    with pytest.raises(RuntimeError, match="in the block"), Disturbance([_core()]) as disturbance:
        pid = disturbance.processes[0].pid
        raise RuntimeError("in the block")
    assert not psutil.pid_exists(pid)


def test_disturbance_ends_when_its_parent_is_killed() -> None:
    command = [sys.executable, "-c", _PARENT, str(_core())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            assert psutil.pid_exists(pid)
        finally:
            parent.kill()
    assert _ends(pid)


def test_process_is_timed_and_disturbed_while_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(0.6); raise SystemExit(3)"]
    run = timed_run(command, tmp_path, (0.1, 0.3))
    assert run.code == 3 and 0.6 <= run.seconds < 10
    assert run.disturbance is not None and run.disturbance["from_second"] == 0.1
    assert 0.2 <= run.disturbance["seconds"] < 5
    assert timed_run([sys.executable, "-c", ""], tmp_path, (60, 90)).disturbance is None
