"""Which process of a run this is (from the environment that torchrun or srun sets), and how ranks find each other.

torchrun keeps its store when it restarts the ranks, with the old ranks' entries. torch 2.15 then lets new ranks
connect to the old ones' addresses (connection refused, or a wait of many minutes). So rank 0 draws a new name for each
start, under which all later keys go, and the other ranks ask for it with random words that no earlier start has
answered.
"""

import os
import re
import threading
import uuid
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from engine.errors import UserError

Environment = MutableMapping[str, str]

_PORTS = range(20000, 30000)

_START = (
    "start with torchrun or srun, which set all that is needed; for one process unset RANK and WORLD_SIZE"
)
_NOT_MPI = "mpirun does not tell the processes of each other, and each would be a run by itself: use torchrun or srun"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process among `world`, of which `local_world` are on its host; `launcher` is torchrun, srun or none."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    launcher: str = "none"


def read_place(environment: Environment) -> Place:
    """The place of this process. Under srun, sets the variables in `environment` by which torch finds rank 0.

    Raises UserError for a variable that is not a number.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    # Only srun sets it; a batch script has SLURM_NTASKS although it is a single process.
    if _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1:
        return _of_srun(environment)
    if "RANK" in environment or _number(environment, "WORLD_SIZE", 1) > 1:
        # Raises for the one that is missing.
        return _of_torchrun(environment)
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if _number(environment, name, 1) > 1:
            raise UserError(f"{name} is {environment[name]}: {_NOT_MPI}")
    return Place()


def _of_torchrun(environment: Environment) -> Place:
    rank, world = (_number(environment, name) for name in ("RANK", "WORLD_SIZE"))
    local_world = _number(environment, "LOCAL_WORLD_SIZE", world)
    # Without it all are on this host, unless LOCAL_WORLD_SIZE says otherwise: then torchrun sets both.
    local_rank = _number(environment, "LOCAL_RANK", rank % max(local_world, 1))
    for name, number, of, size in (
        ("RANK", rank, "WORLD_SIZE", world),
        ("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local_world),
    ):
        if number >= size:
            raise UserError(f"{name} is {number}, but {of} is {size}: they count from 0; {_START}")
    return Place(rank=rank, world=world, local_rank=local_rank, local_world=local_world, launcher="torchrun")


def _of_srun(environment: Environment) -> Place:
    node = _number(environment, "SLURM_NODEID", 0)
    job, step = (_number(environment, name, 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    tasks = tasks_per_node(text := environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    if node >= len(tasks):
        raise UserError(f"SLURM_NODEID is {node}, but SLURM_STEP_TASKS_PER_NODE is {text!r}: start with srun")
    place = Place(
        rank=_number(environment, "SLURM_PROCID"),
        world=_number(environment, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(environment, "SLURM_LOCALID"),
        local_world=tasks[node],
        launcher="srun",
    )
    environment.setdefault("MASTER_ADDR", first_host(environment.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    # The same on all hosts, but different for two steps that share a host.
    environment.setdefault("MASTER_PORT", str(_PORTS[(job * 7 + step) % len(_PORTS)]))
    environment.update(RANK=str(place.rank), WORLD_SIZE=str(place.world))
    environment.update(LOCAL_RANK=str(place.local_rank), LOCAL_WORLD_SIZE=str(place.local_world))
    return place


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list: gpu01 of `gpu[01-04,07],cpu3`."""
    match = re.match(r"([^,\[]+)(?:\[([^\]-]*?)[,\-\]])?", nodes)
    return match.group(1) + (match.group(2) or "") if match else nodes


def tasks_per_node(text: str) -> list[int]:
    """The number of processes on each host from SLURM's form: [2, 2, 1] of `2(x2),1`. Raises UserError."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise UserError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}, not as in 2(x2),1: unset it")
        counts += [int(match.group(1))] * int(match.group(2) or 1)
    return counts


def _number(environment: Environment, name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if name not in environment and default is None:
        raise UserError(
            f"{name} is not set in the environment, but other variables of its kind are: {_START}"
        )
    if not text.isdigit():
        raise UserError(f"{name} is {text!r} in the environment, not a number: {_START}")
    return int(text)


_EVERY = 0.05
"""Seconds between two looks for ranks that ask."""

_MINUTES = 10
"""How long ranks wait for each other at the start."""


@dataclass(frozen=True)
class Meeting:
    """A store that only the ranks of this start use. `connect` opens another connection to it: on one connection a
    waiting call blocks all others.
    """

    name: str
    store: Store
    came: set[int]
    """On rank 0: the ranks that have come."""
    world: int

    def connect(self, part: str) -> Store:
        """A separate connection, for keys under `part` only."""
        return PrefixStore(f"{self.name}/{part}", _connect(serves=False))

    def missing(self) -> str:
        """On rank 0: a line on the ranks that have not come; "" if there are none."""
        missing = [str(rank) for rank in range(1, self.world) if rank not in self.came]
        if not missing or not self.came:
            return ""
        return f"rank {', '.join(missing)} did not come within {_MINUTES} minutes: see its own message, or start it"


@contextmanager
def meeting(rank: int, world: int) -> Generator[Meeting, None, None]:
    """The store through which the ranks find each other; the block has to last until all have."""
    # torchrun serves the store itself, and outlives the ranks; else the first rank does.
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = _connect(serves=serves)
    if rank > 0:
        word = uuid.uuid4().hex
        store.set(_asked(rank), word)
        name = store.get(word).decode()
        yield Meeting(name, PrefixStore(name, store), set(), world)
        return
    name, met, came = uuid.uuid4().hex, threading.Event(), {0}
    answers = (_connect(serves=False), world, name, met, came)
    answering = threading.Thread(target=_answer, args=answers, name="meeting", daemon=True)
    answering.start()
    try:
        yield Meeting(name, PrefixStore(name, store), came, world)
    finally:
        met.set()
        answering.join()


def _connect(*, serves: bool) -> TCPStore:
    address, port = _address(os.environ)
    limit = timedelta(minutes=_MINUTES)
    try:
        return TCPStore(address, port, is_master=serves, timeout=limit, wait_for_workers=False)
    except RuntimeError as error:
        text = str(error)
        if "EADDRINUSE" in text:
            raise UserError(
                f"port {port} of this host, MASTER_PORT, is in use, perhaps by another run: set another MASTER_PORT "
                "(torchrun: --master-port, or --standalone on one host)"
            ) from None
        raise UserError(
            f"no connection to rank 0 at {address}:{port} ({reason_of(error)}): start rank 0, and check MASTER_ADDR, "
            "MASTER_PORT and the firewall"
        ) from None


def _address(environment: Environment) -> tuple[str, int]:
    """Host and port of rank 0. Raises UserError where a variable is missing or wrong."""
    if not environment.get("MASTER_ADDR"):
        raise UserError(f"MASTER_ADDR, the address of rank 0's host, is not set in the environment: {_START}")
    return environment["MASTER_ADDR"], _number(environment, "MASTER_PORT")


def reason_of(error: Exception) -> str:
    """What torch says of a failed connection, in a line."""
    lines = [re.sub(r"^\[[^\]]*\] *", "", line.strip()) for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__).split(". Exception raised from")[0][:200]


def not_joined(error: RuntimeError) -> str:
    """The line for a rank that has found rank 0, but not all others."""
    return (
        f"could not join the other ranks ({reason_of(error)}): one of them has ended, and its own message says why, or "
        "the hosts can't reach each other (GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME choose the network)"
    )


def _answer(store: Store, world: int, name: str, met: threading.Event, came: set[int]) -> None:
    """Give `name` to every rank that asks; words of an earlier start are answered too, but nobody reads that."""
    answered: dict[int, bytes] = {}
    while not met.wait(_EVERY):
        for rank in range(1, world):
            if store.check([_asked(rank)]) and (word := store.get(_asked(rank))) != answered.get(rank):
                store.set(word.decode(), name)
                answered[rank] = word
                came.add(rank)


def _asked(rank: int) -> str:
    return f"asked/{rank}"
