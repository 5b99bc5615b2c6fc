"""The trainer's only view of data: order -> decode -> device, as an iterator of ready batches.

    order.py ids --> [producer thread: crops, DecodePool] --> ring of slots --> consumer: device batch
                          ^ a free slot                                             |
                          +---------------------------------------------------------+

One producer thread fills slots ahead of the consumer. A slot (pinned host memory where there is a GPU) goes
back to the producer only after its copy to the device has finished. Whatever goes wrong in the producer
is raised in the consumer at its next batch; leaving the loop early ends the producer. Resolution and batch
size may change with each call of `batches`, nothing is compiled anew.
"""

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton import Beton
from engine.data.crops import CropLaw
from engine.data.decoders.pool import DecodePool

# ImageNet's channel means and standard deviations (torchvision's), in levels of 0..255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Batch:
    """images: (n, 3, resolution, resolution), normalised, on the device; labels: (n,) int64 there; ids: (n,)."""

    images: torch.Tensor
    labels: torch.Tensor
    ids: NDArray[np.int64]


class _Slot:
    """One batch's host memory, owned in turn by the producer (filling) and the consumer (copying)."""

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self.storage = torch.empty(0, dtype=torch.uint8)
        self.images = self.storage
        self.labels = torch.empty(0, dtype=torch.int64)
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)
        self.copied: torch.cuda.Event | None = None

    def shape_for(self, count: int, resolution: int) -> None:
        """Make `images` (count, resolution, resolution, 3), in the memory at hand where that is large enough."""
        if self.copied is not None:
            self.copied.synchronize()
        needed = count * resolution * resolution * 3
        if self.storage.numel() < needed:
            self.storage = torch.empty(needed, dtype=torch.uint8, pin_memory=self.pinned)
        self.images = self.storage[:needed].view(count, resolution, resolution, 3)


class Loader:
    """Batches of one `.beton`, decoded by `workers` threads and normalised on `device` as `dtype`.

    `wait_seconds` adds up the time the consumer stood still for data. Use it as a context manager, or call
    `close()`: it owns threads.
    """

    def __init__(
        self,
        beton: Beton,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        workers: int = 1,
        in_memory: bool = True,
        batches_ahead: int = 3,
    ) -> None:
        self.beton = beton
        self.device = device
        self.wait_seconds = 0.0
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._mean = torch.tensor(MEAN, dtype=dtype, device=device).view(1, 3, 1, 1)
        self._inverse_std = (1 / torch.tensor(STD, device=device)).to(dtype).view(1, 3, 1, 1)
        self._pool = DecodePool(beton, workers)
        self._slots = [_Slot(device.type == "cuda") for _ in range(batches_ahead + 1)]
        self._labels = torch.from_numpy(np.array(beton.labels, dtype=np.int64))
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if in_memory:
            _read_ahead(beton)

    def batches(self, ids: Sequence[NDArray[np.int64]], resolution: int, crop: CropLaw) -> Iterator[Batch]:
        """One Batch for each array of sample ids, in order. Raises UserError for a corrupt sample.

        One iteration at a time: its slots are the loader's.
        """
        with closing(_Producer(self._pool, self._slots, self._labels, ids, resolution, crop)) as producer:
            for _ in range(len(ids)):
                started = time.perf_counter()
                slot = producer.next_ready()
                self.wait_seconds += time.perf_counter() - started
                batch = self._to_device(slot)
                producer.give_back(slot)
                yield batch

    def _to_device(self, slot: _Slot) -> Batch:
        if self._copy_stream is None:
            # The normalised tensor is a copy, so the slot is free as soon as it exists.
            return Batch(self._normalise(slot.images), slot.labels, slot.ids)
        with torch.cuda.stream(self._copy_stream):
            images = slot.images.to(self.device, non_blocking=True)
            labels = slot.labels.to(self.device, non_blocking=True)
            slot.copied = torch.cuda.Event()
            slot.copied.record(self._copy_stream)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copy_stream)
        # Both were allocated on the copy stream but are read on this one.
        images.record_stream(current)
        labels.record_stream(current)
        return Batch(self._normalise(images), labels, slot.ids)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 NHWC -> normalised NCHW; the permuted view already lies in channels_last order."""
        scaled = images.permute(0, 3, 1, 2).to(self._mean.dtype, memory_format=self._layout)
        return scaled.sub_(self._mean).mul_(self._inverse_std)

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Producer:
    """The thread that decodes ahead, with its two queues; `close()` ends it at once, early or not."""

    def __init__(
        self,
        pool: DecodePool,
        slots: list[_Slot],
        labels: torch.Tensor,
        ids: Sequence[NDArray[np.int64]],
        resolution: int,
        crop: CropLaw,
    ) -> None:
        self._work = (pool, labels, ids, resolution, crop)
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Slot | BaseException] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pool, labels, ids, resolution, crop = self._work
        try:
            for batch_ids in ids:
                slot = self._free.get()
                if slot is None or self._stopping:
                    return
                slot.shape_for(len(batch_ids), resolution)
                pool.decode(batch_ids, crop, slot.images.numpy())
                slot.labels = labels[torch.from_numpy(batch_ids)]
                slot.ids = batch_ids
                self._ready.put(slot)
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer by next_ready
            self._ready.put(error)

    def next_ready(self) -> _Slot:
        """The next filled slot; an error of the producer thread is raised here."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def give_back(self, slot: _Slot) -> None:
        self._free.put(slot)

    def close(self) -> None:
        self._stopping = True
        self._free.put(None)
        self._thread.join()


def _read_ahead(beton: Beton) -> None:
    """Ask the system to read the file into its page cache; it does so in the background."""
    if not hasattr(os, "posix_fadvise"):
        return
    with open(beton.path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
