"""The ways from a record to a finished batch: decoded on the CPU, packed there and finished on the device, or cut from
records that lie on the device. A fourth one, for JPEGs on a GPU, is in gpu_jpeg.py.

    Decoded:  record --decoders/--> pixels (n, resolution, resolution, 3) --copy--> normalised on the device
    Packed:   record --packing----> just the crops' bytes, and where each lies --copy--> engine.data.gpu
    Resident: record --copy, once-> where each crop lies in its record --copy--> engine.data.gpu

Packing is many times cheaper than decoding, so a few cores feed a fast GPU, and resident records ask nothing of the CPU
but a row of numbers for each crop. Both need a file of one format whose crops can be packed, such as raw or yuv420.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.data.gpu.resize import finish_packed, resizer_name
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.loading.producer import Slot
from engine.data.loading.resident import ResidentData, place_of
from engine.data.native.library import library
from engine.data.sampling.crops import CropLaw
from engine.devices import is_cuda, is_gpu
from engine.errors import UserError

# ImageNet's channel means and standard deviations (torchvision's), in levels of 0..255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

# Packed batches differ in size. With this much to spare, few of them ask for more memory than those before.
_HEADROOM = 1.15


class Delivery(Protocol):
    """One of the ways, for one loader."""

    name: str
    """As benchmark records call it: jpeg, raw, proportion, yuv420, ... or with -packed or -resident behind it."""
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

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        channels_last: bool,
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        self.dtype = dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.mean = torch.tensor(mean, device=device)
        self.inverse_std = 1 / torch.tensor(std, device=device)

    def of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Levels (n, height, width, 3), uint8 on the device, normalised: (n, 3, height, width)."""
        count, height, width, _ = pixels.shape
        # A whole row at a time: broadcasting three numbers over channels_last pixels is four times slower on a CPU.
        rows = pixels.view(count, height, width * 3).to(torch.float32)
        rows.sub_(self.mean.repeat(width)).mul_(self.inverse_std.repeat(width))
        images = rows.to(self.dtype).view(count, height, width, 3).permute(0, 3, 1, 2)
        return images.contiguous(memory_format=self.layout)


class Decoded:
    """Decoded on the CPU; the device only normalises."""

    def __init__(self, pool: DecodePool, normalisation: Normalisation) -> None:
        self._pool, self._normalisation = pool, normalisation
        self.name: str = pool.beton.storage
        native = library()
        in_c = all(form.is_in_c(native) for form in pool.beton.formats)
        self.detail = "decoded on the CPU in " + (
            "C" if in_c else "numba: `python -m engine doctor` says how to get the faster C decoders"
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
        return self._normalisation.of(pixels)


class Packed:
    """Packed on the CPU; the device resizes, converts, flips and normalises."""

    def __init__(self, pool: DecodePool, normalisation: Normalisation, device: torch.device) -> None:
        self._pool, self._normalisation = pool, normalisation
        self._mode = pool.beton.formats[0].mode
        self.name = f"{pool.beton.storage}-packed"
        where = "on the GPU" if is_gpu(device) else "on the CPU"
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


class Resident(Packed):
    """As Packed, to the bit, but of records that lie on the device: the host computes where each crop is in its own."""

    def __init__(
        self, pool: DecodePool, normalisation: Normalisation, device: torch.device, data: ResidentData
    ) -> None:
        super().__init__(pool, normalisation, device)
        self._data = data
        self.name = f"{pool.beton.storage}-resident"
        self.detail = (
            f"{data.nbytes / 1e9:.2f} GB are resident in {place_of(device)}; crops are cut there by "
            f"{resizer_name(device)}"
        )

    def prepare(self, *, verify: bool, stop: bool) -> None:
        """Copy the records to the device, unless that was done. With `stop` a corrupt one raises UserError, as does a
        file that can't be read."""
        if self._data.filled:
            return
        self._data.fill(verify=verify)
        bad = np.flatnonzero(self._data.status)
        if stop and len(bad):
            more = f" (and {len(bad) - 1} more in the file)" if len(bad) > 1 else ""
            raise UserError(self._pool.bad(bad, self._data.status[bad])[0].message + more)

    def fill(self, slot: Slot, ids: NDArray[np.int64], resolution: int, crop: CropLaw) -> list[Bad]:
        samples, boxes = self._pool.crops(ids, crop)
        # Nothing is copied but the geometry; `take` waits for the last batch's, so that copies do not pile up.
        slot.pixels = slot.take(0)
        slot.geometry = slot.hold(self._data.geometry(samples, boxes))
        return self._pool.bad(samples, self._data.status[samples])

    def finish(self, pixels: torch.Tensor, geometry: torch.Tensor | None, resolution: int) -> torch.Tensor:
        return super().finish(self._data.buffer, geometry, resolution)


def choose_delivery(
    pool: DecodePool,
    wanted: str,
    device: torch.device,
    dtype: torch.dtype,
    channels_last: bool,
    resident: ResidentData | None = None,
) -> Delivery:
    """`wanted` is auto (packed where a GPU can finish it), cpu, packed or gpu (JPEGs are decoded there); `device` is
    where batches are finished; `resident` are the records there.

    Raises UserError where packed or gpu is wanted and can't be had.
    """
    storage, packable = pool.beton.storage, is_packable(pool.beton)
    if wanted == "packed" and not packable:
        raise UserError(
            f"{pool.beton.path} stores {storage} images, which can't be packed: use data.decoder=auto, or "
            "convert with --output.format=yuv420"
        )
    normalisation = Normalisation(device, dtype, channels_last)
    if resident is not None:
        return Resident(pool, normalisation, device, resident)
    if wanted == "gpu":
        # Imported late: it brings Pillow, and is built on this file.
        from engine.data.loading.gpu_jpeg import GpuJpeg, check_storage

        check_storage(pool, device)
        return GpuJpeg(pool, normalisation, device)
    if wanted == "packed" or (wanted == "auto" and is_cuda(device) and packable):
        return Packed(pool, normalisation, device)
    return Decoded(pool, normalisation)


def is_packable(beton: Beton) -> bool:
    """Whether crops of the file's images can be packed: all are stored in one format, which can be."""
    formats = beton.formats
    return len(formats) == 1 and formats[0].packing is not None
