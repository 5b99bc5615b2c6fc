"""Random kills of processes that convert shards, while a command runs."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

Victims = Callable[[int], list[tuple[str, int]]]
"""Kind and id of each process that may be killed now, by the command's process id."""


def run_killed(command: list[str], victims: Victims, kills: int, seconds: float, begun: Path) -> Counter[str]:
    """Run the command, which has to end with 0, and kill one of the victims every now and then, `kills` in all.

    Before each kill lie up to `seconds`, and before the first one the file `begun` is there. Returns what was killed.
    """
    pick, killed = random.Random(kills), Counter[str]()
    log = begun.parents[2] / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            while process.poll() is None and not begun.exists():
                time.sleep(0.05)
            while process.poll() is None and killed.total() < kills:
                time.sleep(pick.uniform(0, seconds))
                for kind, pid in pick.sample(found := victims(process.pid), k=min(1, len(found))):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed[kind] += 1
            ends = time.monotonic() + 200
            while (code := process.poll()) is None and time.monotonic() < ends:
                victims(process.pid)
                time.sleep(0.2)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, log.read_text()
    return killed


def enough_shards(kills: int, source: Path) -> int:
    """So many shards that all kills find a process, however quick the machine; each gets images of `source`."""
    shards = 6 + 3 * kills
    for split, images in (("train", 100), ("val", 1)):
        for number in range(shards * images):
            shutil.copy(source / f"train/cat/{number % 25:03d}.jpg", source / f"{split}/dog/more{number}.jpg")
    return shards


def shard_processes(pid: int) -> list[tuple[str, int]]:
    """Those below a process, with their encoding processes."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "engine.data.cluster.shard_process" in child.cmdline():
                    found.append(("shard", child.pid))
                    found += [
                        ("encoder", one.pid) for one in child.children() if "spawn_main" in str(one.cmdline())
                    ]
    return found
