"""How the ranks of one start find each other, and none of an earlier start.

torchrun keeps its store when it starts the ranks again, with all that those before have put into it. torch 2.15 then
lets the new ranks call at the old ones' addresses (connection refused, or a wait of many minutes for both). So the
first rank draws a name for this start, all that follows goes under it, and the others ask for it by words of their
own, which nobody has answered before.
"""

import os
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

_EVERY = 0.05
"""Seconds between two looks for who asks."""

_LIMIT = timedelta(minutes=10)
"""How long ranks wait for each other to start."""


@dataclass(frozen=True)
class Meeting:
    """A store that only the ranks of this start use. `connect` gives another way to it: a call on one that waits holds
    up all others on the same.
    """

    name: str
    store: Store

    def connect(self, part: str) -> Store:
        """A connection of its own, to keys under `part` alone."""
        return PrefixStore(f"{self.name}/{part}", _connect(serves=False))


@contextmanager
def meeting(rank: int, world: int) -> Generator[Meeting, None, None]:
    """Where the ranks meet; the block is to last until all have."""
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
    """Tell `name` to every rank that asks; words of an earlier start are answered as well, and read by nobody."""
    answered: dict[int, bytes] = {}
    while not met.wait(_EVERY):
        for rank in range(1, world):
            if store.check([_asked(rank)]) and (word := store.get(_asked(rank))) != answered.get(rank):
                store.set(word.decode(), name)
                answered[rank] = word


def _asked(rank: int) -> str:
    return f"asked/{rank}"
