"""An attempt at a shard, as a worker runs it: in a process of its own, which ends with the one that asked.

    run_shard (in a Dask worker, a Slurm task or a thread)
      -> `python -m engine.data.cluster.shard_process`, which gets the attempt on stdin and converts
         -> its encoding processes

So an attempt can use several cores wherever it runs, and leaves nothing behind in a worker that lives on.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine
from engine.config.write import WriteConfig
from engine.data.cluster.shard_folder import Begun, ShardFolder
from engine.errors import EXIT_AGAIN, EXIT_DONE, EXIT_USER

GRACE_SECONDS = 20.0
"""After it was asked to end, a process has so long to keep what is done."""

RUNNING: set["subprocess.Popen[bytes]"] = set()
"""The processes of attempts that this process has asked for."""

_KILLED = "killed: "


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A shard to convert; sent to the machine that does it."""

    config: WriteConfig
    """The whole conversion, as one machine would do it."""
    begun: Begun
    """What it is a part of; anything else in the folder is of another conversion."""
    folder: str
    storage: Mapping[str, Any]
    shard: str = ""
    """Such as "3/8"."""
    workers: int = 0
    """Encoding processes; 0: as many as this machine's cores."""

    def open(self) -> ShardFolder:
        """The folder of the shards."""
        return ShardFolder(self.folder, self.storage)


def run_shard(attempt: Attempt) -> None:
    """Convert a shard; on return it is finished, or its folder says why it is not. Raises UserError where neither can
    be noted."""
    folder = attempt.open()
    if folder.is_done(attempt.shard):
        return
    with tempfile.TemporaryFile() as log:
        code = _run_process(pickle.dumps(attempt), log.fileno())
        if code == EXIT_DONE:
            return
        log.seek(0)
        said = log.read().decode("utf-8", "replace").strip().splitlines() or [""]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if code == EXIT_USER and errors:
        why = errors[-1]
    else:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        is_killed = code in (-signal.SIGKILL, -signal.SIGTERM, EXIT_AGAIN)
        why = f"{_KILLED if is_killed else ''}its process {how}: {said[-1]}".rstrip(": ")
    folder.fail(attempt.shard, why)


def is_kill(why: str) -> bool:
    """Whether what was noted of an attempt says that it was ended from outside, and nothing of the data."""
    return why.startswith(_KILLED) or "process was killed" in why


def _run_process(attempt: bytes, log: int) -> int:
    """Its exit code, negative for a signal."""
    root = str(Path(engine.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.data.cluster.shard_process"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONPATH": path},
    )
    RUNNING.add(process)
    assert process.stdin is not None
    try:
        # One that ended at once has its say by its code.
        with suppress(BrokenPipeError):
            process.stdin.write(attempt)
            process.stdin.flush()
        return process.wait()
    finally:
        # Where this process is ended itself, by an exception.
        end(process)
        RUNNING.discard(process)
        with suppress(BrokenPipeError):
            process.stdin.close()


def end(process: "subprocess.Popen[bytes]") -> None:
    """End it, after it has kept what is done; nothing where it has ended."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
