"""Part of an endless stream for a torch DataLoader: just so many batches, shared out among its workers.

Loaders that read shards in order have no epoch of a given length: without this, workers would go on with batches that
nobody asked for in the other side's turn.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info


class Part(IterableDataset[Any]):
    """`batches` of what `again` gives, time after time, in this worker's share of it."""

    def __init__(self, again: Callable[[], Iterable[Any]], batches: int, each: int) -> None:
        """`each`: items of the stream in a batch."""
        self._again, self._batches, self._each = again, batches, each

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        left = (self._batches // workers + (number < self._batches % workers)) * self._each
        while left:
            before = left
            for item in self._again():
                yield item
                left -= 1
                if not left:
                    return
            if left == before:
                raise RuntimeError("the stream is empty: fewer shards than workers")
