"""Heartbeats: each rank shows every few seconds that it is alive, so that no rank waits for a lost one.

A process that ends closes its connections, which the others notice. One whose host lost power or network does not,
and GPU collectives wait for it for many minutes. So each rank counts up a number in the ranks' common store and
watches the numbers of the others. A rank that sees no change, or gets no answer from the store, for PATIENCE seconds
prints an error and ends its process, even while its main thread waits.
"""

import os
import sys
import threading
from collections.abc import Callable

from torch.distributed import Store  # type: ignore[attr-defined]

PATIENCE = 20.0
"""Seconds without a heartbeat before a rank counts as lost; with BEAT and the time to end less than 30."""

BEAT = 2.0
"""Seconds between two heartbeats."""

_EXIT = 2


class Heartbeat:
    """Sends and watches heartbeats in threads from construction until `close`. `store` must have no other user."""

    def __init__(
        self,
        store: Store,
        rank: int,
        world: int,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """`leave` is called before the process is ended because another rank is gone."""
        self._leave = leave
        self._store, self._rank, self._world = store, rank, world
        self._beat, self._patience = beat, patience
        self._ended = threading.Event()
        self._rounds = 0
        self._store.set(sign_of(rank), "0")
        self._threads = [
            threading.Thread(target=work, name="heartbeat", daemon=True)
            for work in (self._signal, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def _signal(self) -> None:
        """Send heartbeats, and look for those of the others."""
        missed, seen = [0.0] * self._world, [b""] * self._world
        while not self._ended.wait(self._beat):
            try:
                self._store.set(sign_of(self._rank), str(self._rounds))
                signs = [self._store.get(sign_of(rank)) for rank in range(self._world)]
            # torch raises various errors for a store whose host is gone.
            except Exception as error:  # noqa: BLE001
                self._give_up(f"the first rank's host is gone ({str(error).splitlines()[0]})")
                return
            self._rounds += 1
            # Counted in own beats: a job that was suspended as a whole has missed none.
            missed = [
                0.0 if sign != old else waited + self._beat
                for sign, old, waited in zip(signs, seen, missed, strict=True)
            ]
            seen = signs
            if gone := [str(rank) for rank in range(self._world) if missed[rank] >= self._patience]:
                self._leave()
                self._give_up(f"rank {', '.join(gone)} is gone (no sign of life for {self._patience:g} s)")
                return

    def _watch(self) -> None:
        """Check that the store still answers: a call to a host without power waits for ever."""
        waited, rounds = 0.0, -1
        while not self._ended.wait(self._beat):
            waited = 0.0 if self._rounds != rounds else waited + self._beat
            rounds = self._rounds
            if waited >= self._patience:
                self._give_up(f"the first rank's host is gone (no answer for {self._patience:g} s)")
                return

    def _give_up(self, reason: str) -> None:
        # The main thread usually notices by itself and prints more; or the run is over.
        if not self._ended.wait(2 * self._beat):
            line = f"error: rank {self._rank}: {reason}: start the same command again"
            print(line, file=sys.stderr, flush=True)
            os._exit(_EXIT)

    def close(self) -> None:
        """Stop both threads. Waits for a call to the store, unless its host is gone: a thread that returns from one
        while Python ends would abort a process whose run was successful."""
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * self._beat)


def sign_of(rank: int) -> str:
    """The key of a rank's heartbeat in the store."""
    return f"beat/{rank}"
