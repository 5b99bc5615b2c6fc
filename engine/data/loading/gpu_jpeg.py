"""JPEG files decoded on the GPU: the third way from a record to a finished batch, beside those of delivery.py.

    record --first look--> region of the crop --nvJPEG--> RGB on the device --engine.data.gpu--> finished
                 +--> whatever nvJPEG should not or can't decode: the CPU's decoder, in the same batch

Not run on a GPU yet. The law of resize is the one of all decoders, of the JPEG at full scale: data.decoder=cpu lets the
DCT do a part of the shrinking in training (engine/data/storage/jpeg.py), so levels differ as they do there from a
decode that is exact.

nvJPEG may return pixels of damaged data, and each decoder guesses the colours of unusual JPEGs in its own way. So the
first time that a process uses a sample, its header is read and, unless the file says that its conversion did so, all
of its data is checked by libjpeg. What is not plain and whole is decoded on the CPU, whose rules decide: a corrupt
sample ends the run or is left out as with data.decoder=cpu.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.decode.pillow_pixels import DamagedError
from engine.data.gpu.nvjpeg import INSTALL, RegionDecoder
from engine.data.gpu.resize import finish_packed, resizer_name
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.loading.delivery import Normalisation
from engine.data.loading.producer import Slot
from engine.data.sampling import crops
from engine.data.sampling.crops import CropLaw
from engine.data.storage import JPEG, RAW, packing
from engine.data.storage.jpeg_header import is_jpeg, read_jpeg_header
from engine.data.storage.jpeg_transcode import verify
from engine.devices import abilities, is_cuda
from engine.errors import UserError

# A sample's decoder. GPU: it has passed its first look.
_UNKNOWN, _GPU, _CPU = range(3)

# Regions end where a JPEG's blocks do, whatever its chroma subsampling (T.81, A.2.4: at most 4 x 8 pixels, in files of
# practice 2 x 8), and enlarging chroma looks at a neighbour: 2 pixels more keep a crop's edge what it is in the image.
_BLOCK, _MARGIN = 16, 2

_SIDES = [packing.ROWS, packing.COLUMNS, packing.HEIGHT, packing.WIDTH]

# So many must have failed, and none succeeded, before it is the installation's fault and not the images'.
_ENOUGH = 16


class GpuJpeg:
    """Regions are decoded by nvJPEG in the producer's thread, resized and normalised on the device by the consumer.

    A slot's `pixels` then lie on the device. Raises UserError where nvJPEG can't be used.
    """

    def __init__(self, pool: DecodePool, normalisation: Normalisation, device: torch.device) -> None:
        self._pool, self._normalisation, self._device = pool, normalisation, device
        self._decoder = RegionDecoder(device, pool.workers)
        beton = pool.beton
        self._by = np.full(beton.num_samples, _UNKNOWN, np.uint8)
        # What the conversion found whole, and a checksum shows to be what it wrote.
        self._whole = pool.verifies and beton.manifest and beton.manifest.settings.get("jpeg_check") is True
        self._decoded = self._failed = self._told = 0
        self.name = f"{beton.storage}-gpu"
        self.detail = (
            f"crops are decoded by nvJPEG and resized by {resizer_name(device)} (not tested on a GPU)"
        )

    def fill(self, slot: Slot, ids: NDArray[np.int64], resolution: int, crop: CropLaw) -> list[Bad]:
        samples, boxes, fit = self._pool.sort_out(ids, crop, self._fits)
        images, regions = self._on_gpu(samples, boxes, fit)
        geometry = _geometry(boxes, regions)
        left = np.array([row for row, image in enumerate(images) if image is None], np.int64)
        self._by[samples[left]] = _CPU
        resized = np.zeros((len(left), resolution, resolution, 3), np.uint8)
        bad = self._pool.decode(ids[left], crop, resized) if len(left) else []
        for row, image in zip(left.tolist(), resized, strict=True):
            images[row] = torch.from_numpy(image)
        # Already of the wanted size and turned: resized to itself, which changes no level.
        geometry[left] = 0
        geometry[left[:, None], _SIDES] = resolution
        ends = np.cumsum(3 * geometry[:, packing.ROWS] * geometry[:, packing.COLUMNS])
        geometry[:, packing.OFFSET] = np.concatenate([[0], ends[:-1]])
        slot.pixels = self._decoder.join([image for image in images if image is not None])
        slot.geometry = slot.hold(geometry)
        return [Bad(int(left[one.row]), one.message) for one in bad]

    def keep(self, slot: Slot, rows: NDArray[np.int64]) -> None:
        assert slot.geometry is not None
        slot.geometry = slot.hold(slot.geometry.numpy()[rows])

    def finish(self, pixels: torch.Tensor, geometry: torch.Tensor | None, resolution: int) -> torch.Tensor:
        assert geometry is not None
        norm = self._normalisation
        return finish_packed(
            *(pixels, geometry, RAW.mode, resolution, norm.mean, norm.inverse_std, norm.dtype, norm.layout)
        )

    def new_notes(self) -> list[str]:
        """A line about the samples that the CPU decodes, where there are more of them than at the last call."""
        by_cpu = np.flatnonzero(self._by == _CPU)
        if len(by_cpu) <= self._told:
            return []
        self._told = len(by_cpu)
        used = int((self._by != _UNKNOWN).sum())
        return [
            f"{self._pool.beton.path}: of {used:,} JPEGs used so far {len(by_cpu):,} are decoded on the CPU, the first "
            f"is sample {by_cpu[0]}: nvJPEG gets undamaged ones of 8 bits in YCbCr or gray alone"
        ]

    def _fits(self, sample: int) -> bool:
        """Whether nvJPEG may decode this sample: its colours are sure and its data is whole."""
        if self._by[sample] == _UNKNOWN:
            self._by[sample] = _GPU if self._is_plain(sample) else _CPU
        return bool(self._by[sample] == _GPU)

    def _is_plain(self, sample: int) -> bool:
        content, image = self._pool.record(sample).tobytes(), self._pool.beton.images[sample]
        try:
            header = read_jpeg_header(content) if is_jpeg(content) else None
            if header is None or not header.usual_colours or header.precision != 8:
                return False
            if (header.width, header.height) != (image["width"], image["height"]):
                return False
            if not self._whole:
                verify(content, header)
        except (DamagedError, ValueError):
            return False
        return True

    def _on_gpu(
        self, samples: NDArray[np.int64], boxes: NDArray[np.int32], fit: NDArray[np.bool_]
    ) -> tuple[list[torch.Tensor | None], NDArray[np.int64]]:
        """An image for each sample, None where it has to come from the CPU; and the regions, int64 (n, 4)."""
        table, rows = self._pool.beton.images[samples], np.flatnonzero(fit)
        regions = _regions(boxes, table["height"].astype(np.int64), table["width"].astype(np.int64))
        found = self._decoder.decode([self._pool.record(int(one)) for one in samples[rows]], regions[rows])
        # Of a file that failed meanwhile there may be pixels all the same.
        self._pool.check_file()
        failed = sum(image is None for image in found)
        self._failed, self._decoded = self._failed + failed, self._decoded + len(found) - failed
        if self._failed >= _ENOUGH and not self._decoded:
            raise UserError(
                f"nvJPEG decoded none of {self._failed} JPEGs of {self._pool.beton.path} that it should: its version "
                f"may be too old ({INSTALL}), or the GPU's driver; or use data.decoder=auto"
            )
        images: list[torch.Tensor | None] = [None] * len(samples)
        for row, image in zip(rows.tolist(), found, strict=True):
            images[row] = image
        return images, regions


def _regions(
    boxes: NDArray[np.int32], heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The region to decode for each box: rows (top, left, bottom, right) of whole blocks inside the image."""
    low = boxes[:, [crops.TOP, crops.LEFT]].astype(np.int64)
    high = low + boxes[:, [crops.HEIGHT, crops.WIDTH]] + _MARGIN
    low = np.maximum(low - _MARGIN, 0) // _BLOCK * _BLOCK
    high = np.minimum(-(-high // _BLOCK) * _BLOCK, np.stack([heights, widths], axis=1))
    return np.hstack([low, high])


def _geometry(boxes: NDArray[np.int32], regions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows as packing.py has them for RGB, still without offsets: the region is what lies in the buffer."""
    geometry = np.zeros((len(boxes), packing.GEOMETRY_COLUMNS), np.int64)
    top, left, bottom, right = regions.T
    geometry[:, packing.ROWS], geometry[:, packing.COLUMNS] = bottom - top, right - left
    geometry[:, packing.TOP], geometry[:, packing.LEFT] = (
        boxes[:, crops.TOP] - top,
        boxes[:, crops.LEFT] - left,
    )
    for column, of_box in (
        (packing.HEIGHT, crops.HEIGHT),
        (packing.WIDTH, crops.WIDTH),
        (packing.FLIP, crops.FLIP),
    ):
        geometry[:, column] = boxes[:, of_box]
    return geometry


def check_storage(pool: DecodePool, device: torch.device) -> None:
    """Raises UserError for a file or a device that nvJPEG has no part in."""
    if not is_cuda(device) or torch.version.hip:
        there = "an AMD GPU" if torch.version.hip else abilities(device).words
        raise UserError(
            f"data.decoder=gpu needs an NVIDIA GPU, and this runs on {there}: use data.decoder=auto"
        )
    if pool.beton.storage != JPEG.name:
        raise UserError(
            f"{pool.beton.path} stores {pool.beton.storage} images, and data.decoder=gpu decodes JPEGs: use "
            "data.decoder=auto"
        )
