"""One batch's host memory, and the thread that fills batch after batch ahead of their consumer.

    owner:   producer (filling)  --ready-->  consumer (reading, copying)  --free-->  producer ...

A slot has one owner at a time and changes hands through one of two queues. Its memory is written again only after
`copied`, the event behind its last copy to a device, has passed.

Two ways from a record to a finished batch: decoded on the CPU, or packed there and finished on the device.

    Decoded:  record --decoders/--> pixels (n, resolution, resolution, 3) --copy--> normalised on the device
    Packed:   record --packing----> just the crops' bytes, and where each lies --copy--> engine.data.gpu

Packing is many times cheaper than decoding, so a few cores feed a fast GPU; it needs a file of one format whose
crops can be packed, such as raw or yuv420. A third way, for JPEGs on a GPU, is in gpu_jpeg.py.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.data.gpu.resize import finish_packed, resizer_name
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.native.library import library
from engine.data.sampling.crops import CropLaw
from engine.errors import UserError

Fill = Callable[["Slot", NDArray[np.int64]], None]


class Slot:
    """What lies in host memory of one batch; pinned where it goes to a GPU."""

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self._storage = torch.empty(0, dtype=torch.uint8)
        self.pixels = self._storage
        """uint8: decoded images (n, resolution, resolution, 3), or (bytes,) of packed crops."""
        self.geometry: torch.Tensor | None = None
        """int64 (n, 8), where `pixels` are packed crops (engine.data.storage.packing)."""
        self.resolution = 0
        self.labels = torch.empty(0, dtype=torch.int64)
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)
        self.left_out = 0
        """Samples that were asked for and are not among `ids`."""
        self.copied: torch.cuda.Event | None = None
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
            if self._device.type == "cuda":
                # A new thread starts on GPU 0, and pinning memory would open a context there in every process.
                torch.cuda.set_device(self._device)
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


# ImageNet's channel means and standard deviations (torchvision's), in levels of 0..255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

# Packed batches differ in size. With this much to spare, few of them ask for more memory than those before.
_HEADROOM = 1.15


class Delivery(Protocol):
    """One of the ways, for one loader."""

    name: str
    """As benchmark records call it: jpeg, raw, proportion, yuv420, ... or with -packed behind it."""
    detail: str
    """Who does the work, in words."""

    def fill(self, slot: Slot, ids: NDArray[np.int64], resolution: int, crop: CropLaw) -> list[Bad]:
        """Put the samples into slot.pixels (and slot.geometry); returns those that can't be used."""
        ...

    def keep(self, slot: Slot, rows: NDArray[np.int64]) -> None:
        """Leave only these rows of what `fill` put there."""
        ...

    def finish(self, pixels: torch.Tensor, geometry: torch.Tensor | None, resolution: int) -> torch.Tensor:
        """Normalised images (n, 3, resolution, resolution) from a slot's content, once it is on the device."""
        ...

    def new_notes(self) -> list[str]:
        """Lines for the user since the last call."""
        ...


class Normalisation:
    """(level - mean) / std, computed in float32 whatever `dtype` is: rounding comes last, and once."""

    def __init__(self, device: torch.device, dtype: torch.dtype, channels_last: bool) -> None:
        self.dtype = dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.mean = torch.tensor(MEAN, device=device)
        self.inverse_std = 1 / torch.tensor(STD, device=device)


class Decoded:
    """Decoded on the CPU; the device only normalises."""

    def __init__(self, pool: DecodePool, normalisation: Normalisation) -> None:
        self._pool, self._normalisation = pool, normalisation
        self.name: str = pool.beton.storage
        native = library()
        in_c = all(form.is_in_c(native) for form in pool.beton.formats)
        self.detail = "decoded on the CPU in " + (
            "C" if in_c else "numba: `make setup` builds the faster C decoders"
        )

    def fill(self, slot: Slot, ids: NDArray[np.int64], resolution: int, crop: CropLaw) -> list[Bad]:
        size = len(ids) * resolution * resolution * 3
        slot.pixels = slot.take(size).view(len(ids), resolution, resolution, 3)
        return self._pool.decode(ids, crop, slot.pixels.numpy())

    def keep(self, slot: Slot, rows: NDArray[np.int64]) -> None:
        kept = torch.from_numpy(rows)
        slot.pixels[: len(rows)] = slot.pixels[kept]
        slot.pixels = slot.pixels[: len(rows)]

    def new_notes(self) -> list[str]:
        return []

    def finish(self, pixels: torch.Tensor, geometry: torch.Tensor | None, resolution: int) -> torch.Tensor:
        norm, (count, height, width, _) = self._normalisation, pixels.shape
        # A whole row at a time: broadcasting three numbers over channels_last pixels is four times slower on a CPU.
        rows = pixels.view(count, height, width * 3).to(torch.float32)
        rows.sub_(norm.mean.repeat(width)).mul_(norm.inverse_std.repeat(width))
        images = rows.to(norm.dtype).view(count, height, width, 3).permute(0, 3, 1, 2)
        return images.contiguous(memory_format=norm.layout)


class Packed:
    """Packed on the CPU; the device resizes, converts, flips and normalises."""

    def __init__(self, pool: DecodePool, normalisation: Normalisation, device: torch.device) -> None:
        self._pool, self._normalisation = pool, normalisation
        self._mode = pool.beton.formats[0].mode
        self.name = f"{pool.beton.storage}-packed"
        where = "on the GPU" if device.type == "cuda" else "on the CPU"
        self.detail = f"crops are packed on the CPU and finished {where} by {resizer_name(device)}"

    def fill(self, slot: Slot, ids: NDArray[np.int64], resolution: int, crop: CropLaw) -> list[Bad]:
        def take(size: int) -> NDArray[np.uint8]:
            slot.pixels = slot.take(size, _HEADROOM)
            return slot.pixels.numpy()

        geometry, bad = self._pool.pack(ids, crop, take)
        slot.geometry = slot.hold(geometry)
        return bad

    def keep(self, slot: Slot, rows: NDArray[np.int64]) -> None:
        assert slot.geometry is not None
        slot.geometry = slot.hold(slot.geometry.numpy()[rows])

    def new_notes(self) -> list[str]:
        return []

    def finish(self, pixels: torch.Tensor, geometry: torch.Tensor | None, resolution: int) -> torch.Tensor:
        assert geometry is not None
        norm = self._normalisation
        return finish_packed(
            *(pixels, geometry, self._mode, resolution, norm.mean, norm.inverse_std, norm.dtype, norm.layout)
        )


def choose_delivery(
    pool: DecodePool, wanted: str, device: torch.device, dtype: torch.dtype, channels_last: bool
) -> Delivery:
    """`wanted` is auto (packed where a GPU can finish it), cpu, packed or gpu (JPEGs are decoded there).

    Raises UserError where packed or gpu is wanted and can't be had.
    """
    storage, packable = pool.beton.storage, _is_packable(pool.beton)
    if wanted == "packed" and not packable:
        raise UserError(
            f"{pool.beton.path} stores {storage} images, which can't be packed: use data.decoder=auto, or "
            "convert with --output.format=yuv420"
        )
    normalisation = Normalisation(device, dtype, channels_last)
    if wanted == "gpu":
        # Imported late: it brings Pillow, and is built on this file.
        from engine.data.loading.gpu_jpeg import GpuJpeg, check_storage

        check_storage(pool, device)
        return GpuJpeg(pool, normalisation, device)
    if wanted == "packed" or (wanted == "auto" and device.type == "cuda" and packable):
        return Packed(pool, normalisation, device)
    return Decoded(pool, normalisation)


def _is_packable(beton: Beton) -> bool:
    formats = beton.formats
    return len(formats) == 1 and formats[0].packing is not None
