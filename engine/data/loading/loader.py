"""The loader, the trainer's only view of data: an iterator of batches that are ready on the device.

    sample ids --> [producer thread: window, crops, DecodePool] --> ring of slots --> consumer: device batch
                          ^ a free slot                                                 |
                          +-------------------------------------------------------------+

One producer thread fills slots ahead of the consumer, with decoded images or packed crops (delivery.py). An error in
the producer is raised in the consumer at its next batch. Leaving the loop early ends the producer when the iterator is
closed or dropped; until then no second iteration can start, since both would fill the same slots. Resolution and batch
size may change with each call of `batches`; nothing is recompiled.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.loading.delivery import MEAN, STD, Decoded, Resident, choose_delivery
from engine.data.loading.in_flight import InFlight
from engine.data.loading.meters import DataFigures, LoaderMeter
from engine.data.loading.page_cache import ReadAhead
from engine.data.loading.producer import Producer, Slot
from engine.data.loading.resident import ResidentData
from engine.data.loading.windows import WindowReader
from engine.data.sampling.crops import CropLaw, ResizeThenCrop
from engine.data.sampling.order import Windows, samples_of
from engine.devices import abilities, event, indexed, is_gpu, streaming, synchronize
from engine.errors import UserError
from engine.limits import free_memory

__all__ = ["MEAN", "STD", "Batch", "HostBatch", "Loader"]

Batches = Sequence[NDArray[np.int64]] | NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """images (n, 3, resolution, resolution), normalised, in the loader's dtype, and labels (n,) int64, on the device.

    ids int64 (n,), on the host: the views (order.py) that were asked for.
    """

    images: torch.Tensor
    labels: torch.Tensor
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class HostBatch:
    """A batch before its copy to the device: `pixels` are uint8 images (n, resolution, resolution, 3) or, with
    `geometry`, packed crops (bytes,), which data.decoder=gpu has put on the device already; none of data that are
    resident. `labels` and `ids` are int64 (n,).

    The memory belongs to the loader and is valid until the next batch is asked for.
    """

    pixels: torch.Tensor
    geometry: torch.Tensor | None
    labels: torch.Tensor
    ids: NDArray[np.int64]


class Loader:
    """Batches of one `.beton` file on `device` as `dtype`, decoded by `workers` threads, and finished there or, for
    devices that don't (engine/devices.py), on the CPU.

    `decoder` is auto, cpu, packed or gpu (delivery.choose_delivery); `verify` is when checksums are compared
    (decode_pool.py). A corrupt sample ends the iteration with a UserError (`corrupt="stop"`) or is left out of its
    batch (`corrupt="skip"`): `skips` counts them, `new_skips` lists them. `figures` tells where the time went. With
    `in_memory` a thread reads the whole file into the page cache. `resident`, the loader's from here on, holds records
    on the device, where crops are cut. It owns threads: use it as a context manager, or call `close()`. Raises
    UserError on construction for a decoder that the file can't have.
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
        decoder: str = "auto",
        verify: str = "first-epoch",
        corrupt: str = "stop",
        resident: ResidentData | None = None,
    ) -> None:
        if batches_ahead < 0:
            raise ValueError(f"batches_ahead {batches_ahead}")
        self.beton = beton
        self.device = device = indexed(device)
        able = abilities(device)
        self.skips = 0
        self._skipped: dict[int, str] = {}
        self._told = 0
        self._corrupt, self._verify = corrupt, verify
        self._owned = ExitStack()
        self._pool = DecodePool(beton, workers, verify)
        self._owned.callback(self._pool.close)
        self._resident = resident
        if resident is not None:
            self._owned.callback(resident.close)
        self._meter = LoaderMeter(self._pool.meter, device)
        try:
            there = device if able.finishes else torch.device("cpu")
            # Crops between pixels can't be packed.
            self._between = choose_delivery(self._pool, "cpu", there, dtype, channels_last)
            self._whole = choose_delivery(self._pool, decoder, there, dtype, channels_last, resident)
            self._delivery = self._whole
        except UserError:
            self._owned.close()
            raise
        self._slots = [Slot(able.pinned) for _ in range(batches_ahead + 1)]
        self._streams = streaming(device)
        self._copy_stream = self._streams.Stream(device) if self._streams else None
        self._producer: Producer | None = None
        self._reader: WindowReader | None = None
        self._closed = False
        self._delivered = self._start = 0
        if in_memory:
            self._owned.callback(ReadAhead(beton.path, beton.arrival).close)

    @property
    def wait_seconds(self) -> float:
        """Seconds that the device waited for data, since the loader was opened."""
        return self._meter.idle_seconds

    def figures(self) -> DataFigures:
        """Where the time went since the loader was opened; does not wait for the device."""
        if self.beton.arrival is not None:
            self._meter.arrived(self.beton.arrival.bytes_arrived)
        return self._meter.figures()

    @property
    def resident_bytes(self) -> int:
        """Bytes of records that the device holds."""
        return self._resident.nbytes if self._resident else 0

    @property
    def decoder(self) -> tuple[str, str]:
        """The decoder's name, as in benchmark records, and a description."""
        return self._whole.name, self._whole.detail

    def batches(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None = None
    ) -> Generator[Batch, None, None]:
        """One Batch for each array of views (order.py), in order. Raises UserError for a corrupt sample.

        `windows` is the epoch that the views come from, if it is in page-wise order, without repeats. Only one
        iteration at a time: a second one before the first has ended or was closed, or continuing after `close()`,
        raises RuntimeError.
        """
        with self._producing(ids, resolution, crop, windows) as producer:
            in_flight = InFlight()
            for _ in range(self._start, len(ids)):
                asked = None
                if self._copy_stream:
                    # It passes when the work before this batch is done. blocking: as for `copied` below.
                    asked = event(self.device, timed=True, blocking=True)
                    in_flight.admit(asked)
                elif is_gpu(self.device):
                    # The copy would wait for all work before it anyway. Waiting here, what follows is waiting for data.
                    synchronize(self.device)
                slot = self._next_slot(producer)
                batch = self._to_device(slot, asked)
                producer.give_back(slot)
                yield batch

    def host_batches(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None = None
    ) -> Generator[HostBatch, None, None]:
        """As `batches`, but each batch in host memory, before its copy to the device."""
        with self._producing(ids, resolution, crop, windows) as producer:
            for _ in range(self._start, len(ids)):
                slot = self._next_slot(producer)
                yield HostBatch(slot.pixels, slot.geometry, slot.labels, slot.ids)
                producer.give_back(slot)

    def new_skips(self) -> list[str]:
        """A line for each sample that was left out for the first time since the last call."""
        lines = list(self._skipped.values())[self._told :]
        self._told += len(lines)
        return lines

    def new_notes(self) -> list[str]:
        """Lines about how samples are decoded, since the last call."""
        return self._whole.new_notes()

    def state_dict(self) -> dict[str, int]:
        """The number of batches that the current or last iteration has delivered."""
        return {"batches": self._delivered}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next iteration, given the same ids and crops, start where `state` was taken. Decodes nothing."""
        self._start = state["batches"]

    @contextmanager
    def _producing(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None
    ) -> Generator[Producer, None, None]:
        """One iteration: its threads start and end here."""
        if self._closed:
            raise RuntimeError("the loader is closed")
        if self._producer is not None:
            raise RuntimeError("the loader's last iteration is still open: close its iterator first")
        self.fill_resident()
        if self.beton.arrival is not None and windows is None:
            self.beton.arrival.wait()
        if not 0 <= self._start <= len(ids):
            raise ValueError(f"batch {self._start} of {len(ids)} can't be the first one")
        self._delivery = self._between if isinstance(crop, ResizeThenCrop) else self._whole
        self._refuse_too_large(max(map(len, ids), default=0), resolution)
        reader = (
            WindowReader(
                self.beton.path, self._pool.memory, windows, self._pool.descriptor, self.beton.arrival
            )
            # What is resident is read in any order.
            if windows and not isinstance(self._delivery, Resident)
            else None
        )

        def fill(slot: Slot, batch_ids: NDArray[np.int64]) -> None:
            started = advanced = time.perf_counter()
            downloading = self.beton.arrival is not None and not self.beton.arrival.is_complete
            if reader:
                reader.advance(batch_ids)
                advanced = time.perf_counter()
            bad = self._delivery.fill(slot, batch_ids, resolution, crop)
            slot.ids, slot.left_out = self._without(slot, batch_ids, bad) if bad else batch_ids, len(bad)
            slot.labels = slot.hold(self.beton.labels[samples_of(slot.ids)])
            slot.resolution = resolution
            self._meter.filled(
                images=len(slot.ids),
                record_bytes=int(self.beton.sizes[samples_of(batch_ids)].sum()),
                seconds=time.perf_counter() - started - slot.held_seconds,
                window_seconds=advanced - started,
                downloading=downloading,
            )

        self._reader, self._delivered = reader, self._start
        self._producer = Producer(self._slots, self.device, ids[self._start :], fill)
        try:
            yield self._producer
        finally:
            self._end_threads()
            self._producer, self._reader, self._start = None, None, 0

    def _refuse_too_large(self, images: int, resolution: int) -> None:
        """Raises UserError for batches that memory has no room for: the system would end the process."""
        taken = sum(slot.nbytes for slot in self._slots)
        need, free = len(self._slots) * images * resolution**2 * 3 - taken, free_memory()
        if isinstance(self._delivery, Decoded) and need > free:
            raise UserError(
                f"{self.beton.path}: {len(self._slots)} batches of {images:,} images at {resolution} px take "
                f"{need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: lower training.batch_size or "
                "validation.batch_size, whichever this is"
            )

    def fill_resident(self) -> None:
        """Copy the resident records to the device, unless that was done; the first iteration would do it.

        Raises UserError for a file that can't be read, and with corrupt="stop" for any corrupt sample in it.
        """
        if isinstance(self._whole, Resident):
            if self.beton.arrival is not None:
                self.beton.arrival.wait()
            self._whole.prepare(verify=self._verify != "never", stop=self._corrupt == "stop")

    def _end_threads(self) -> None:
        """End the iteration's threads, the window reader's first: the producer may be waiting for it."""
        if self._reader is not None:
            self._reader.close()
        if self._producer is not None:
            self._producer.close()

    def _next_slot(self, producer: Producer) -> Slot:
        ready, started = producer.ready / len(self._slots), time.perf_counter()
        slot = producer.next_ready()
        self._meter.handed_over(ready=ready, waited=time.perf_counter() - started)
        self._delivered += 1
        # Counted when delivered, not when filled: a run that is saved now repeats batches that were not delivered.
        self.skips += slot.left_out
        return slot

    def _without(self, slot: Slot, ids: NDArray[np.int64], bad: list[Bad]) -> NDArray[np.int64]:
        """The views of a batch without its bad samples. Raises UserError with corrupt="stop" or if none is left."""
        more = f" (and {len(bad) - 1} more in its batch)" if len(bad) > 1 else ""
        if self._corrupt == "stop":
            raise UserError(bad[0].message + more)
        rows = np.setdiff1d(np.arange(len(ids)), [sample.row for sample in bad])
        if not len(rows):
            raise UserError(f"{bad[0].message}; no sample of its batch of {len(ids)} can be used")
        self._delivery.keep(slot, rows)
        for sample in bad:
            self._skipped.setdefault(int(samples_of(ids)[sample.row]), sample.message)
        return ids[rows]

    def _to_device(self, slot: Slot, asked: Any) -> Batch:
        if self._copy_stream is None or asked is None:
            # `finish` makes a copy, so the slot is free afterwards.
            images = self._delivery.finish(slot.pixels, slot.geometry, slot.resolution)
            return Batch(images.to(self.device), slot.labels.to(self.device), slot.ids)
        with self._streams.stream(self._copy_stream):
            begun = event(self.device, timed=True)
            pixels = slot.pixels.to(self.device, non_blocking=True)
            labels = slot.labels.to(self.device, non_blocking=True)
            geometry = None if slot.geometry is None else slot.geometry.to(self.device, non_blocking=True)
            # blocking: the producer sleeps on it rather than spin on a core that could decode.
            copied = slot.copied = event(self.device, timed=True, blocking=True)
        self._meter.copies.add(begun, copied)
        current = self._streams.current_stream(self.device)
        current.wait_stream(self._copy_stream)
        self._meter.idle.add(asked, event(self.device, timed=True))
        # They were allocated on the copy stream but are read on this one.
        for tensor in (pixels, labels, geometry):
            if tensor is not None:
                tensor.record_stream(current)
        return Batch(self._delivery.finish(pixels, geometry, slot.resolution), labels, slot.ids)

    def close(self) -> None:
        """End all threads, also during an iteration, whose consumer gets a RuntimeError if it continues."""
        if self._closed:
            return
        self._closed = True
        self._end_threads()
        self._owned.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
