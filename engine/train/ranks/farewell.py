"""Which ranks have ended, and whether each said why: what the others tell when a connection breaks.

A rank that ends with an error notes that in the ranks' common store, prints its message, and goes. So one that is gone
without a note was killed. On the same host a process that is gone shows at once; on another one its heartbeat stops.
"""

import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from torch.distributed import Store  # type: ignore[attr-defined]

from engine.system import runs
from engine.train.ranks.heartbeat import BEAT, sign_of

_KILLED = "it left no message, as after SIGKILL, often for lack of memory (`dmesg` tells)"
_AGAIN = "start the same command again; a run with --training.resume=auto goes on from its last checkpoint"


class Process(NamedTuple):
    """The process of a rank."""

    host: str
    pid: int


def own_process() -> Process:
    """This process's."""
    return Process(platform.node(), os.getpid())


class Farewells:
    """`processes` are those of all ranks, which run now. `store` is a connection to the store of the heartbeats."""

    def __init__(self, rank: int, processes: Sequence[Process], store: Store) -> None:
        self._rank, self._processes, self._store = rank, processes, store
        here = own_process().host
        # Another container on this host has process numbers of its own.
        self._visible = {
            rank for rank, process in enumerate(processes) if process.host == here and runs(process.pid)
        }

    def leave(self) -> None:
        """Note that this rank ends with a message of its own."""
        with suppress(RuntimeError):
            self._store.set(_note(self._rank), "")

    def gone(self, *, wait: bool) -> str:
        """A line on the ranks that have ended, killed ones if there are any; "" if none is known to.

        With `wait` the ranks on other hosts are given three heartbeats to show that they run. Without it only killed
        ranks of this host count.
        """
        gone = [rank for rank in sorted(self._visible) if not runs(self._processes[rank].pid)]
        if not gone and wait:
            before = self._beats()
            time.sleep(3 * BEAT)
            after = self._beats()
            pairs = enumerate(zip(before, after, strict=False))
            # The first rank's host serves the store.
            gone = [rank for rank, (old, new) in pairs if old == new] if before and after else [0]
        noted = {rank: self._has_left(rank) for rank in gone if rank != self._rank}
        if killed := [rank for rank, left in noted.items() if left is False]:
            verb = "were" if len(killed) > 1 else "was"
            return f"{self._words(killed)} {verb} killed: {_KILLED}; {_AGAIN}"
        if not wait:
            return ""
        if unknown := [rank for rank, left in noted.items() if left is None]:
            return f"{self._words(unknown)} ended: its own message says why, or it was killed: {_KILLED}; {_AGAIN}"
        return f"{self._words([*noted])} stopped; its own message says why" if noted else ""

    def _words(self, ranks: Sequence[int]) -> str:
        return " and ".join(
            f"rank {rank} (process {self._processes[rank].pid} on {self._processes[rank].host})"
            for rank in ranks
        )

    def _has_left(self, rank: int) -> bool | None:
        """Whether the rank left a note; None where the store is gone too."""
        with suppress(RuntimeError):
            return bool(self._store.check([_note(rank)]))
        return None

    def _beats(self) -> list[bytes]:
        """The heartbeat of each rank; empty where the store is gone."""
        with suppress(RuntimeError):
            return [self._store.get(sign_of(rank)) for rank in range(len(self._processes))]
        return []


def _note(rank: int) -> str:
    return f"left/{rank}"
