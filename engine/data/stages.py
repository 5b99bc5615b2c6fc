"""Where a conversion's time went: reading, encoding, writing, and which of them it waited for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.data.chunk import Records


@dataclass(kw_only=True)
class Stages:
    """Seconds of each stage (of reading and encoding: of all workers together), and how much was done in them."""

    workers: int
    reading: float = 0
    encoding: float = 0
    writing: float = 0
    total: float = 0
    """Of the clock."""
    images: int = 0
    """Done, stored or not."""
    bytes: int = 0
    """Of all records."""

    def add(self, records: Records) -> None:
        """A chunk was read and encoded."""
        self.images += records.count
        self.bytes += records.bytes
        self.reading += records.reading
        self.encoding += records.encoding

    @contextmanager
    def is_writing(self) -> Iterator[None]:
        """The block writes."""
        started = time.perf_counter()
        yield
        self.writing += time.perf_counter() - started

    def describe(self) -> str:
        """Such as "limited by encoding: 2 workers busy 97% (reading 5%), writing 9%"."""
        worked = max(self.total * self.workers, 1e-9)
        shares = {"reading": self.reading / worked, "encoding": self.encoding / worked}
        busy, writing = sum(shares.values()), self.writing / max(self.total, 1e-9)
        details = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())
        # A single worker is this process, which reads, encodes and writes in turn.
        if self.workers == 1 or writing > busy:
            shares["writing"] = writing
        shares["starting and waiting"] = 1 - (busy + writing if self.workers == 1 else max(busy, writing))
        limit = max(shares, key=lambda stage: shares[stage])
        workers = f"{self.workers} workers" if self.workers > 1 else "1 worker"
        return f"limited by {limit}: {workers} busy {busy:.0%} ({details}), writing {writing:.0%} of the time"
