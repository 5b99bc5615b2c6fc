"""How the ranks of one start find each other, and none of an earlier start.

torchrun keeps its store when it starts the ranks again, with all that those before have put into it. torch 2.15 then
lets the new ranks call at the old ones' addresses (connection refused, or a wait of many minutes for both). So the
first rank draws a name for this start, all that follows goes under it, and the others ask for it by words of their
own, which nobody has answered before.
"""

import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import PrefixStore, Store, rendezvous  # type: ignore[attr-defined]

_EVERY = 0.05
"""Seconds between two looks for who asks."""

_LIMIT = timedelta(minutes=10)
"""How long ranks wait for each other to start."""


@contextmanager
def meeting(rank: int, world: int) -> Generator[Store, None, None]:
    """A store that only the ranks of this start use; the block is to last until all have met in it."""
    store, _, _ = next(rendezvous("env://", rank, world, timeout=_LIMIT))
    if rank > 0:
        word = uuid.uuid4().hex
        store.set(_asked(rank), word)
        yield PrefixStore(store.get(word).decode(), store)
        return
    name, met = uuid.uuid4().hex, threading.Event()
    # A connection of its own: a call that waits holds up all others on the same.
    answers = (store.clone(), world, name, met)
    answering = threading.Thread(target=_answer, args=answers, name="meeting", daemon=True)
    answering.start()
    try:
        yield PrefixStore(name, store)
    finally:
        met.set()
        answering.join()


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
