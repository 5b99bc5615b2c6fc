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
        world = _number(environment, "WORLD_SIZE")
        return Place(
            rank=_number(environment, "RANK"),
            world=world,
            local_rank=_number(environment, "LOCAL_RANK", 0),
            local_world=_number(environment, "LOCAL_WORLD_SIZE", world),
            launcher="torchrun",
        )
    # Only srun sets it; a batch script has SLURM_NTASKS although it is a single process.
    if _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1:
        return _of_srun(environment)
    return Place()


def _of_srun(environment: Environment) -> Place:
    node = _number(environment, "SLURM_NODEID", 0)
    job, step = (_number(environment, name, 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    place = Place(
        rank=_number(environment, "SLURM_PROCID"),
        world=_number(environment, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(environment, "SLURM_LOCALID"),
        local_world=tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))[node],
        launcher="srun",
    )
    environment.setdefault("MASTER_ADDR", first_host(environment.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    # The same on all hosts, but different for two steps that share a host.
    environment.setdefault("MASTER_PORT", str(_PORTS[(job * 7 + step) % len(_PORTS)]))
    environment.update(RANK=str(place.rank), WORLD_SIZE=str(place.world))
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
    if not text.isdigit():
        raise UserError(f"{name} is {text!r} in the environment, not a number: start with torchrun or srun")
    return int(text)


_EVERY = 0.05
"""Seconds between two looks for ranks that ask."""

_LIMIT = timedelta(minutes=10)
"""How long ranks wait for each other at the start."""


@dataclass(frozen=True)
class Meeting:
    """A store that only the ranks of this start use. `connect` opens another connection to it: on one connection a
    waiting call blocks all others.
    """

    name: str
    store: Store

    def connect(self, part: str) -> Store:
        """A separate connection, for keys under `part` only."""
        return PrefixStore(f"{self.name}/{part}", _connect(serves=False))


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
        yield Meeting(name, PrefixStore(name, store))
        return
    name, met = uuid.uuid4().hex, threading.Event()
    answers = (_connect(serves=False), world, name, met)
    answering = threading.Thread(target=_answer, args=answers, name="meeting", daemon=True)
    answering.start()
    try:
        yield Meeting(name, PrefixStore(name, store))
    finally:
        met.set()
        answering.join()


def _connect(*, serves: bool) -> TCPStore:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=serves, timeout=_LIMIT, wait_for_workers=False)


def _answer(store: Store, world: int, name: str, met: threading.Event) -> None:
    """Give `name` to every rank that asks; words of an earlier start are answered too, but nobody reads that."""
    answered: dict[int, bytes] = {}
    while not met.wait(_EVERY):
        for rank in range(1, world):
            if store.check([_asked(rank)]) and (word := store.get(_asked(rank))) != answered.get(rank):
                store.set(word.decode(), name)
                answered[rank] = word


def _asked(rank: int) -> str:
    return f"asked/{rank}"
