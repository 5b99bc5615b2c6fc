"""The trainer's only view of data: order -> decode -> device, as an iterator of ready batches.

    order.py ids --> [producer thread: crops, DecodePool] --> ring of slots --> consumer: device batch
                          ^ a free slot                                             |
                          +---------------------------------------------------------+

One producer thread fills slots ahead of the consumer. A slot (pinned host memory where there is a GPU) goes
back to the producer only after its copy to the device has finished. Whatever goes wrong in the producer
is raised in the consumer at its next batch. Leaving the loop early ends the producer when the iterator is
closed or dropped; until then no second iteration can start, since both would fill the same slots. Resolution
and batch size may change with each call of `batches`, nothing is compiled anew.
"""

import queue
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton import Beton
from engine.data.crops import CropLaw
from engine.data.decoders.pool import DecodePool
from engine.data.read_ahead import ReadAhead

# ImageNet's channel means and standard deviations (torchvision's), in levels of 0..255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Batch:
    """images (n, 3, resolution, resolution), normalised, and labels (n,) int64, on the device; ids (n,)."""

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
        """Make `images` (count, resolution, resolution, 3), in the memory at hand where that is enough."""
        if self.copied is not None:
            self.copied.synchronize()
        needed = count * resolution * resolution * 3
        if self.storage.numel() < needed:
            self.storage = torch.empty(needed, dtype=torch.uint8, pin_memory=self.pinned)
        self.images = self.storage[:needed].view(count, resolution, resolution, 3)

    def take_labels(self, labels: NDArray[np.int64]) -> None:
        """Keep `labels`; pinned like the images, or the copy to the device would wait for theirs to end."""
        tensor = torch.from_numpy(labels)
        self.labels = tensor.pin_memory() if self.pinned else tensor


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
        if batches_ahead < 0:
            raise ValueError(f"batches_ahead {batches_ahead}")
        self.beton = beton
        self.device = device
        self.wait_seconds = 0.0
        self._dtype = dtype
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        # In float32 whatever `dtype` is: rounding comes last, and once.
        self._mean = torch.tensor(MEAN, device=device)
        self._inverse_std = 1 / torch.tensor(STD, device=device)
        self._pool = DecodePool(beton, workers)
        self._slots = [_Slot(device.type == "cuda") for _ in range(batches_ahead + 1)]
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._producer: _Producer | None = None
        self._closed = False
        self._read_ahead = ReadAhead(beton.path) if in_memory else None

    def batches(
        self, ids: Sequence[NDArray[np.int64]] | NDArray[np.int64], resolution: int, crop: CropLaw
    ) -> Generator[Batch, None, None]:
        """One Batch for each array of sample ids, in order. Raises UserError for a corrupt sample.

        One iteration at a time: starting a second one before the first has ended or was closed, and going on
        after `close()`, raises RuntimeError.
        """
        if self._closed:
            raise RuntimeError("the loader is closed")
        if self._producer is not None:
            raise RuntimeError("the loader's last iteration is still open: close its iterator first")
        producer = self._producer = _Producer(self._pool, self._slots, self.device, ids, resolution, crop)
        try:
            for _ in range(len(ids)):
                started = time.perf_counter()
                slot = producer.next_ready()
                self.wait_seconds += time.perf_counter() - started
                batch = self._to_device(slot)
                producer.give_back(slot)
                yield batch
        finally:
            producer.close()
            self._producer = None

    def _to_device(self, slot: _Slot) -> Batch:
        if self._copy_stream is None:
            # The normalised tensor is a copy, so the slot is free as soon as it exists.
            return Batch(self._normalise(slot.images), slot.labels, slot.ids)
        with torch.cuda.stream(self._copy_stream):
            images = slot.images.to(self.device, non_blocking=True)
            labels = slot.labels.to(self.device, non_blocking=True)
            # blocking: the producer sleeps on it rather than spin on a core that could decode.
            slot.copied = torch.cuda.Event(blocking=True)
            slot.copied.record(self._copy_stream)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copy_stream)
        # Both were allocated on the copy stream but are read on this one.
        images.record_stream(current)
        labels.record_stream(current)
        return Batch(self._normalise(images), labels, slot.ids)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 NHWC -> normalised NCHW, computed in float32 and rounded once; in channels_last order a view."""
        count, height, width, _ = images.shape
        # A whole row at a time: broadcasting three numbers over channels_last pixels is four times slower on a CPU.
        rows = images.view(count, height, width * 3).to(torch.float32)
        rows.sub_(self._mean.repeat(width)).mul_(self._inverse_std.repeat(width))
        pixels = rows.to(self._dtype).view(count, height, width, 3).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=self._layout)

    def close(self) -> None:
        """End all threads, also amid an iteration, whose consumer gets a RuntimeError if it goes on."""
        self._closed = True
        if self._producer is not None:
            self._producer.close()
        if self._read_ahead is not None:
            self._read_ahead.close()
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
        device: torch.device,
        ids: Sequence[NDArray[np.int64]] | NDArray[np.int64],
        resolution: int,
        crop: CropLaw,
    ) -> None:
        self._work = (pool, device, ids, resolution, crop)
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Slot | BaseException] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pool, device, ids, resolution, crop = self._work
        try:
            if device.type == "cuda":
                # A new thread starts on GPU 0, and pinning memory would open a context there in every process.
                torch.cuda.set_device(device)
            for batch_ids in ids:
                slot = self._free.get()
                if slot is None or self._stopping:
                    return
                slot.shape_for(len(batch_ids), resolution)
                pool.decode(batch_ids, crop, slot.images.numpy())
                slot.take_labels(pool.beton.labels[batch_ids])
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
        # For a consumer that goes on all the same: it must not wait for a batch that never comes.
        self._ready.put(RuntimeError("the loader was closed amid an iteration"))
