"""Ranks: one process each, started by torchrun, srun or alone; the same code for all, on GPUs and on CPUs.

Also Agreement: what all ranks do after a step. A signal or a timer reaches one rank at some moment, but all ranks have
to save the same step. So with every step the ranks exchange a number between their hosts (gloo), while the step runs
and without waiting for the device; the largest counts.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from engine.devices import abilities, count, is_gpu, make_current, present
from engine.errors import Interrupted, UserError
from engine.limits import compute_threads, share_of_quota
from engine.system import allowed_cores
from engine.train.ranks.cores import Seat, pin, read_nodes, seat_of, share_of_cores
from engine.train.ranks.farewell import Farewells, own_process
from engine.train.ranks.heartbeat import Heartbeat
from engine.train.ranks.launch import Place, meeting, not_joined, read_place, reason_of

# A rank that waits this long for the others gives up; a lost one is noticed long before (heartbeat.py).
_TIMEOUT = timedelta(minutes=10)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which process this is, among how many, and on what device it works."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    device: torch.device
    share: frozenset[int] = field(default_factory=allowed_cores)
    """The CPU cores of this process; the run's other processes on this host have others."""
    control: dist.ProcessGroup | None = None
    """With several ranks: a second process group between hosts (gloo), besides the one for gradients."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the terminal."""
        return self.rank == 0

    def cores(self) -> int:
        """The number of cores that this process may keep busy, at least 1: its share, or less under a CPU quota."""
        return share_of_quota(len(self.share), self.local_world)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of `values`, on the device or on the CPU, over all ranks, on every rank."""
        if self.world > 1:
            there = values.device.type == self.device.type
            dist.all_reduce(values, group=None if there else self.control)
        return values

    def agree(self, value: T) -> T:
        """Rank 0's `value`, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def all_say(self, value: T) -> list[T]:
        """Each rank's `value`, on every rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value, group=self.control)
        return values

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def process_group(device: str, *, pin_cores: bool = True) -> Iterator[Ranks]:
    """Join the other ranks for the block. `device` is that of training.device.

    With `pin_cores` each process of a host stays on its share of the cores; either way torch gets a thread for each
    core that the process may keep busy, or what the user set in OMP_NUM_THREADS. Raises UserError, one line, when
    another rank fails.
    """
    place = read_place(os.environ)
    ranks = _ranks(place, device)
    if ranks.world == 1:
        torch.set_num_threads(compute_threads(ranks.cores()))
        yield ranks
        return
    ranks, signs, farewells = _meet(ranks)
    try:
        with _watched(ranks, signs, farewells):
            ranks = replace(ranks, share=_take_share(ranks))
            if pin_cores:
                pin(ranks.share)
            # By default each process takes all cores.
            torch.set_num_threads(compute_threads(ranks.cores()))
            yield ranks
    except BaseException as error:
        told = _told(error, ranks.rank, farewells)
        farewells.leave()
        if told is error:
            raise
        raise told from None
    else:
        # After an error the others may be gone, and waiting for them would hang.
        dist.destroy_process_group()


def _meet(ranks: Ranks) -> tuple[Ranks, Any, Farewells]:
    """Join the others; returns also the store of the heartbeats, and what will tell who has ended."""
    try:
        with meeting(ranks.rank, ranks.world) as met:
            try:
                ranks = replace(ranks, control=_join(ranks, met.store))
            except RuntimeError as error:
                raise UserError(f"rank {ranks.rank}: {met.missing() or not_joined(error)}") from None
            farewells = Farewells(ranks.rank, ranks.all_say(own_process()), met.connect("heartbeat"))
            return ranks, met.connect("heartbeat"), farewells
    except RuntimeError as error:
        raise UserError(f"rank {ranks.rank}: {not_joined(error)}") from None


def _told(error: BaseException, rank: int, farewells: Farewells) -> BaseException:
    """The error with which this rank ends: what became of the others, where `error` follows from that."""
    if isinstance(error, Interrupted):
        # torchrun ends all ranks when one of them is gone.
        gone = farewells.gone(wait=False)
        return Interrupted(f"{error}; {gone}") if gone else error
    if isinstance(error, RuntimeError) and _of_connection(error):
        return UserError(
            farewells.gone(wait=True)
            or f"rank {rank}: the connection to the other ranks failed, though all of them run ({reason_of(error)}): "
            "check the network (NCCL_DEBUG=INFO tells more on GPUs), and start the same command again"
        )
    return error


def _join(ranks: Ranks, store: Any) -> dist.ProcessGroup:
    """Join the process group for gradients, and the second one between hosts, which is returned."""
    backend = abilities(ranks.device).exchange
    dist.init_process_group(
        backend,
        store=store,
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=_TIMEOUT,
        device_id=ranks.device if is_gpu(ranks.device) else None,
    )
    # For a rank outside the group it would be a number; here all are in it.
    control: Any = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    return cast(dist.ProcessGroup, control)


@contextmanager
def _watched(ranks: Ranks, store: Any, farewells: Farewells) -> Iterator[None]:
    """Send and watch heartbeats during the block."""
    heartbeat = Heartbeat(store, ranks.rank, ranks.world, leave=farewells.leave)
    # Every rank must have sent its first heartbeat: the store waits without end for a key that never existed.
    dist.barrier(group=ranks.control)
    yield
    # After an error heartbeats continue until the process ends: the others should see that end, not a silent store.
    dist.barrier(group=ranks.control)
    heartbeat.close()
    # The store must exist until the last rank has closed.
    dist.barrier(group=ranks.control)


def _take_share(ranks: Ranks) -> frozenset[int]:
    """This process's share of the host's cores, computed alike on all ranks."""
    seats: list[Seat] = ranks.all_say(seat_of(ranks.device))
    return share_of_cores(ranks.rank, seats, read_nodes())


def _ranks(place: Place, device: str) -> Ranks:
    kind = present() if device == "auto" else device
    if kind not in ("cpu", present()):
        raise UserError(
            f"training.device is {kind}, but torch sees no GPU{_instead(kind)}: see `python -m engine doctor`"
        )
    where = torch.device("cpu") if kind == "cpu" else torch.device(kind, _index(place, count(kind)))
    if place.world > 1 and not abilities(where).exchange:
        raise UserError(
            f"training.device={kind} trains in one process, and {place.world} were started: start one, without torchrun"
        )
    make_current(where)
    return Ranks(
        rank=place.rank,
        world=place.world,
        local_rank=place.local_rank,
        local_world=place.local_world,
        device=where,
    )


def _instead(kind: str) -> str:
    """What torch sees where it does not see this kind of device."""
    if (found := present()) != "cpu":
        return f" of that kind (it sees {found})"
    return "" if kind == "cuda" else " of that kind"


def _index(place: Place, gpus: int) -> int:
    """Which of the host's GPUs is this process's. Raises UserError where there are too few."""
    # srun gives each process its own GPU, and shows it no other, if it is asked to (--gpus-per-task=1).
    index = 0 if place.launcher == "srun" and gpus == 1 else place.local_rank
    if index >= gpus:
        raise UserError(
            f"{place.local_world} processes on this host but only {gpus} GPUs: start torchrun with "
            f"--nproc-per-node={gpus}"
        )
    return index


def _of_connection(error: RuntimeError) -> bool:
    words = [
        "onnection closed by peer",
        "onnection reset by peer",
        "Broken pipe",
        "onnection was closed",
        "connectFullMesh failed",
        "onnection refused",
    ]
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


class Wish(IntEnum):
    """What a rank wants after a step; the largest of all ranks counts."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    """Save, then stop."""


class Agreement:
    """Call `begin` before and `settle` after each step, on every rank. `wish` returns what this rank wants."""

    def __init__(self, ranks: Ranks, wish: Callable[[], Wish]) -> None:
        self.ranks, self._wish = ranks, wish
        self._word = torch.zeros(1, dtype=torch.int64)
        self._pending: dist.Work | None = None

    def begin(self) -> None:
        """Send this rank's wish."""
        if self.ranks.world > 1:
            self._word.fill_(self._wish())
            self._pending = dist.all_reduce(
                self._word, dist.ReduceOp.MAX, group=self.ranks.control, async_op=True
            )

    def settle(self) -> Wish:
        """The wish that all ranks follow. Raises RuntimeError when a rank is gone."""
        if self._pending is None:
            return self._wish()
        self._pending.wait()
        self._pending = None
        return Wish(int(self._word))
