"""Ranks: one process each, started by torchrun or alone; the same code for both, for GPUs and for the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from engine.errors import UserError
from engine.train.cores import Seat, pin, read_nodes, seat_of, share_of_cores

# A rank that waits this long for the others gives up; torchrun ends a job whose rank died long before.
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
        dist.broadcast_object_list(box, src=0)
        return box[0]

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
    ranks = _place(device)
    if ranks.world == 1:
        torch.set_num_threads(ranks.cores())
        yield ranks
        return
    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    device_id = ranks.device if backend == "nccl" else None
    dist.init_process_group(backend, timeout=_TIMEOUT, device_id=device_id)
    try:
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


def _take_share(ranks: Ranks) -> frozenset[int]:
    """This process's part of the host's cores, which all ranks agree on."""
    seats: list[Seat] = [seat_of(ranks.device)] * ranks.world
    dist.all_gather_object(seats, seats[ranks.rank])
    return share_of_cores(ranks.rank, seats, read_nodes())


def _place(device: str) -> Ranks:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device is cuda, but torch sees no GPU: see `python -m engine doctor`")
    if on_gpu and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{local_world} processes on this host but only {torch.cuda.device_count()} GPUs: "
            f"start torchrun with --nproc-per-node={torch.cuda.device_count()}"
        )
    if on_gpu:
        torch.cuda.set_device(local_rank)
    where = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    return Ranks(rank=rank, world=world, local_rank=local_rank, local_world=local_world, device=where)


def _peer_is_gone(error: RuntimeError) -> bool:
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "connection was closed")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
