"""A sign of life from each rank every few seconds, so that none waits for one that is gone.

A process that ends closes its connections, which the others notice by themselves. One whose host lost power or its
network does not, and a GPU's collectives wait for it until their own limit of many minutes. So each rank counts up
a number in a store of the first rank's, and watches those of the others; whoever misses one for PATIENCE seconds says
so and ends its process, whatever its main thread waits for.
"""

import os
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

PATIENCE = 20.0
"""Seconds without a sign of life; with BEAT and the time to end under the 30 that a job may take to notice."""

BEAT = 2.0
"""Seconds between two signs."""

_EXIT = 2


class Heartbeat:
    """Beats and watches in a thread from construction until `close`. `ranks` are the others' numbers and our own."""

    def __init__(
        self, store: Store, rank: int, world: int, *, beat: float = BEAT, patience: float = PATIENCE
    ) -> None:
        self._store, self._rank, self._world = store, rank, world
        self._beat, self._patience = beat, patience
        self._ended = threading.Event()
        self._store.set(_key(rank), "0")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        missed, seen, number = [0.0] * self._world, [""] * self._world, 0
        while not self._ended.wait(self._beat):
            number += 1
            try:
                self._store.set(_key(self._rank), str(number))
                signs = [
                    sign.decode() for sign in self._store.multi_get([_key(r) for r in range(self._world)])
                ]
            # Whatever torch makes of a store whose host is gone.
            except Exception as error:  # noqa: BLE001
                self._give_up([0], str(error).splitlines()[0])
                return
            # Counted in beats of our own: a job that was suspended as a whole has missed none of them.
            missed = [
                0.0 if sign != old else waited + self._beat
                for sign, old, waited in zip(signs, seen, missed, strict=True)
            ]
            seen = signs
            if gone := [rank for rank in range(self._world) if missed[rank] >= self._patience]:
                self._give_up(gone, f"no sign of life for {self._patience:g} s")
                return

    def _give_up(self, gone: Sequence[int], reason: str) -> None:
        # The main thread usually meets the same end by itself, and says more; or the run is over.
        if self._ended.wait(2 * self._beat):
            return
        names = ", ".join(map(str, gone))
        print(
            f"error: rank {self._rank}: rank {names} is gone ({reason}): start the same command again",
            file=sys.stderr,
            flush=True,
        )
        os._exit(_EXIT)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()


def open_store(rank: int, world: int, address: str, port: int) -> TCPStore:
    """The store at `address`, which the first rank opens; its operations fail after PATIENCE seconds."""
    return TCPStore(
        address, port, world, is_master=rank == 0, timeout=timedelta(seconds=PATIENCE), wait_for_workers=False
    )


def _key(rank: int) -> str:
    return f"beat/{rank}"
