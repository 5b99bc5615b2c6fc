"""Ranks: one process each, started by torchrun, srun or alone; the same code for all, for GPUs and for the CPU.

What all ranks do after a step, decided by all of them for the same step, without waiting for the device.

A signal or a clock speaks to one rank at a moment of its own, but a checkpoint is of one step. So with every step the
ranks exchange a word by way of the hosts (gloo), while the step runs; the most urgent one counts.
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

from engine.errors import UserError
from engine.train.ranks.cores import Seat, pin, read_nodes, seat_of, share_of_cores
from engine.train.ranks.heartbeat import Heartbeat
from engine.train.ranks.launch import Place, meeting, read_place

# A rank that waits this long for the others gives up; one that is gone is noticed long before (heartbeat.py).
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
    share: frozenset[int] = field(default_factory=lambda: frozenset(os.sched_getaffinity(0)))
    """The cores that are this process's own among the run's processes on this host."""
    control: dist.ProcessGroup | None = None
    """Of several ranks: their hosts' own group (gloo), apart from the one that the gradients go by."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the terminal."""
        return self.rank == 0

    def cores(self) -> int:
        """How many cores are this process's own, at least 1."""
        return len(self.share)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of `values` over all ranks, on every rank."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: T) -> T:
        """The first rank's `value`, on every rank."""
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
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def process_group(device: str, *, pin_cores: bool = True) -> Iterator[Ranks]:
    """This process's place; joins the others on entry and leaves them on exit. `device` is auto, cpu or cuda.

    With `pin_cores` the processes of a host keep to their shares of its cores; torch's threads are as many as
    the share has cores either way. When another rank fails, this one ends with a single line that says so.
    """
    place = read_place(os.environ)
    ranks = _ranks(place, device)
    if ranks.world == 1:
        torch.set_num_threads(ranks.cores())
        yield ranks
        return
    try:
        with meeting(ranks.rank, ranks.world) as met:
            ranks = replace(ranks, control=_join(ranks, met.store))
            signs = met.connect("heartbeat")
        with _watched(ranks, signs):
            ranks = replace(ranks, share=_take_share(ranks))
            if pin_cores:
                pin(ranks.share)
            # Each process would take all cores.
            torch.set_num_threads(ranks.cores())
            yield ranks
    except RuntimeError as error:
        if _peer_is_gone(error):
            raise UserError(f"rank {ranks.rank}: another rank stopped; its own message says why") from None
        raise
    else:
        # After an error the others may be gone, and waiting for them would hang.
        dist.destroy_process_group()


def _join(ranks: Ranks, store: Any) -> dist.ProcessGroup:
    """Join the others in the group of the gradients, and in the hosts' own, which is returned."""
    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=store,
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=_TIMEOUT,
        device_id=ranks.device if backend == "nccl" else None,
    )
    # For a rank outside the group it would be a number; here all are in it.
    control: Any = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    return cast(dist.ProcessGroup, control)


@contextmanager
def _watched(ranks: Ranks, store: Any) -> Iterator[None]:
    """Watch the other ranks during the block."""
    heartbeat = Heartbeat(store, ranks.rank, ranks.world)
    # A sign is waited for without end where there never was one.
    dist.barrier(group=ranks.control)
    yield
    # After an error it goes on until the process ends: the others are to see that end, not a silence of the store.
    dist.barrier(group=ranks.control)
    heartbeat.close()
    # The store must be there until the last has closed.
    dist.barrier(group=ranks.control)


def _take_share(ranks: Ranks) -> frozenset[int]:
    """This process's part of the host's cores, which all ranks agree on."""
    seats: list[Seat] = ranks.all_say(seat_of(ranks.device))
    return share_of_cores(ranks.rank, seats, read_nodes())


def _ranks(place: Place, device: str) -> Ranks:
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch sees no GPU: see `python -m engine doctor`")
    # srun gives each process its own GPU, and shows it no other, if it is asked to (--gpus-per-task=1).
    index = 0 if place.launcher == "srun" and torch.cuda.device_count() == 1 else place.local_rank
    if on_gpu and index >= torch.cuda.device_count():
        raise UserError(
            f"{place.local_world} processes on this host but only {torch.cuda.device_count()} GPUs: "
            f"start torchrun with --nproc-per-node={torch.cuda.device_count()}"
        )
    if on_gpu:
        torch.cuda.set_device(index)
    where = torch.device("cuda", index) if on_gpu else torch.device("cpu")
    return Ranks(
        rank=place.rank,
        world=place.world,
        local_rank=place.local_rank,
        local_world=place.local_world,
        device=where,
    )


def _peer_is_gone(error: RuntimeError) -> bool:
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
    """What a rank wants after the step; the larger one counts."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    """After saving."""


class Agreement:
    """`begin` with each step, `settle` after it, on every rank alike. `wish` says what this one wants."""

    def __init__(self, ranks: Ranks, wish: Callable[[], Wish]) -> None:
        self.ranks, self._wish = ranks, wish
        self._word = torch.zeros(1, dtype=torch.int64)
        self._pending: dist.Work | None = None

    def begin(self) -> None:
        """Send this rank's word."""
        if self.ranks.world > 1:
            self._word.fill_(self._wish())
            self._pending = dist.all_reduce(
                self._word, dist.ReduceOp.MAX, group=self.ranks.control, async_op=True
            )

    def settle(self) -> Wish:
        """What all do. Raises RuntimeError when a rank is gone."""
        if self._pending is None:
            return self._wish()
        self._pending.wait()
        self._pending = None
        return Wish(int(self._word))
