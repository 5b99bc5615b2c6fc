"""A real Slurm of one node on loopback: munged, slurmctld and slurmd in a folder of its own, with ports of its own.

A job of its partition `urgent` preempts those of `main`, the default. They get two minutes to end and are requeued.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,requeue_delay=1
KillWait=5
MinJobAge=5
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=120
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str:
    """Why there can be no such Slurm here, or ""."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"Slurm is not installed here ({', '.join(missing)}): apt-get install slurmctld slurmd munge"
    return "" if os.getuid() == 0 else "the daemons of this Slurm run as root"


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and the others talk to it; its jobs are ended with it."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    config = _CONFIG.format(host=host, folder=folder, controller=_port(), node=_port(), cpus=os.cpu_count())
    (folder / "slurm.conf").write_text(config)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("socket", "log-file", "pid-file", "seed-file")
    ]
    with ExitStack() as stack:
        log = stack.enter_context(open(folder / "daemons.log", "wb"))
        for command in (
            ["munged", "--foreground", "--force", f"--key-file={key}", *munge],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D", "-N", host],
        ):
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            stack.callback(_end, process)
            if command[0] == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), folder)
        _wait(lambda: "idle" in _told(["sinfo", "-h", "-o", "%t"], environment), folder)
        # First of all, as long as there are daemons to do it.
        stack.callback(lambda: _told(["scancel", "--full", "--signal=KILL", "--user=root"], environment))
        yield environment


def _told(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def _wait(ready: object, folder: Path) -> None:
    assert callable(ready)
    ends = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < ends, (folder / "daemons.log").read_text(errors="replace")
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Its environment; skips with the reason where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    with one_node_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment
