"""One batch's host memory, and the thread that fills batch after batch ahead of their consumer.

    owner:   producer (filling)  --ready-->  consumer (reading, copying)  --free-->  producer ...

A slot has one owner at a time and changes hands through one of two queues. Its memory is written again only after
`copied`, the event behind its last copy to a device, has passed.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.loading.in_flight import Passing
from engine.devices import make_current

Fill = Callable[["Slot", NDArray[np.int64]], None]


class Slot:
    """What lies in host memory of one batch; pinned where it goes to a GPU."""

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self._storage = torch.empty(0, dtype=torch.uint8)
        self.pixels = self._storage
        """uint8: decoded images (n, resolution, resolution, 3), (bytes,) of packed crops, none of resident ones."""
        self.geometry: torch.Tensor | None = None
        """int64 (n, 8), where crops are packed or resident (engine.data.storage.packing)."""
        self.resolution = 0
        self.labels = torch.empty(0, dtype=torch.int64)
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)
        self.left_out = 0
        """Samples that were asked for and are not among `ids`."""
        self.copied: Passing | None = None
        self.held_seconds = 0.0
        """How long the last `take` waited for it."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has taken."""
        return self._storage.numel()

    def take(self, size: int, headroom: float = 1.0) -> torch.Tensor:
        """`size` bytes, in the memory at hand where that is enough, else in `headroom` times as much, newly taken."""
        started = time.perf_counter()
        if self.copied is not None:
            self.copied.synchronize()
        self.held_seconds = time.perf_counter() - started
        if self._storage.numel() < size:
            # Given back before more is taken, or both would be held for a moment.
            self._storage = self.pixels = torch.empty(0, dtype=torch.uint8)
            self._storage = torch.empty(int(size * headroom), dtype=torch.uint8, pin_memory=self.pinned)
        return self._storage[:size]

    def hold(self, array: NDArray[np.int64]) -> torch.Tensor:
        """`array` as a tensor; pinned like the pixels, or its copy to the device would wait for theirs to end."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.pinned else tensor


class Producer:
    """Fills slots with one batch of `ids` after the other, in its own thread; `close()` ends it, early or not."""

    def __init__(
        self,
        slots: list[Slot],
        device: torch.device,
        ids: Sequence[NDArray[np.int64]] | NDArray[np.int64],
        fill: Fill,
    ) -> None:
        self._device, self._ids, self._fill = device, ids, fill
        self._free: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Slot | BaseException] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            # A new thread starts on GPU 0, and pinning memory would open a context there in every process.
            make_current(self._device)
            for ids in self._ids:
                slot = self._free.get()
                if slot is None or self._stopping:
                    return
                self._fill(slot, ids)
                self._ready.put(slot)
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer by next_ready
            self._ready.put(error)

    @property
    def ready(self) -> int:
        """How many filled slots wait for the consumer."""
        return self._ready.qsize()

    def next_ready(self) -> Slot:
        """The next filled slot, now the caller's; an error of the producer's thread is raised here."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def give_back(self, slot: Slot) -> None:
        """The slot is the producer's again, from `slot.copied` on."""
        self._free.put(slot)

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._free.put(None)
        self._thread.join()
        # For a consumer that goes on all the same: it must not wait for a batch that never comes.
        self._ready.put(RuntimeError("the loader was closed amid an iteration"))
