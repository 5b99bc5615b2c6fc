"""Random images, crops of them packed as the loader packs them, and what the slow reference makes of each."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.storage import RAW
from engine.data.storage.packing import copy_crops, place_crops, plan_crops
from tests.data.reference_resize import resize_rgb, resize_yuv420


@dataclass(frozen=True)
class PackedCrops:
    """Crops of images stored in `mode`: the records, the boxes, and both as the device gets them."""

    mode: int
    records: list[NDArray[np.uint8]]
    sizes: list[tuple[int, int]]
    boxes: NDArray[np.int32]
    buffer: torch.Tensor
    geometry: torch.Tensor

    def resident(self) -> "PackedCrops":
        """The same crops in whole records, one behind the other."""
        buffer = torch.from_numpy(np.concatenate(self.records))
        ends = np.cumsum([record.nbytes for record in self.records])
        starts = np.append(0, ends[:-1])
        heights, widths = np.array(self.sizes).T
        geometry = place_crops(starts, heights, widths, self.boxes)
        return replace(self, buffer=buffer, geometry=torch.from_numpy(geometry))

    def reference(self, resolution: int) -> NDArray[np.uint8]:
        """Levels (n, resolution, resolution, 3) by tests/data/reference_resize.py."""
        images = []
        for record, (height, width), box in zip(self.records, self.sizes, self.boxes, strict=True):
            if self.mode == RAW.mode:
                images.append(resize_rgb(record.reshape(height, width, 3), box, resolution))
            else:
                images.append(resize_yuv420(record, height, width, box, resolution))
        return np.stack(images)


def random_crops(mode: int, count: int, longest: int, seed: int = 0) -> PackedCrops:
    """Crops with sides of 1 to `longest` pixels at odd and even places; of 8, one each is a point, a row, a column,
    and every second one is flipped."""
    random = np.random.default_rng([mode, longest, seed])
    records, sizes, boxes = [], [], np.empty((count, 5), np.int32)
    images = np.zeros(count, layout.IMAGE)
    end = 0
    for row in range(count):
        height, width = (int(side) for side in random.integers(1, longest + 1, 2))
        height, width = (1 if row % 8 in (0, 1) else height), (1 if row % 8 in (0, 2) else width)
        top, left = (int(place) for place in random.integers(0, 10, 2))
        # As much again may lie below and to the right, and often nothing does.
        bottom, right = top + height + int(random.integers(0, 5)), left + width + int(random.integers(0, 5))
        image = (bottom + bottom % 2, right + right % 2)
        size = image[0] * image[1] * 3 // (1 if mode == RAW.mode else 2)
        boxes[row] = (top, left, height, width, row % 2)
        images[row] = (mode, image[1], image[0], end)
        records.append(random.integers(0, 256, size, np.uint8))
        sizes.append(image)
        end += size
    geometry, size = plan_crops(boxes, mode)
    # Bytes between the samples are not 0: nothing may be made of them.
    buffer = np.full(size, 255, np.uint8)
    status = np.zeros(count, np.uint8)
    stored = np.array([record.nbytes for record in records])
    ids, memory = np.arange(count), np.concatenate(records)
    copy_crops(memory, images, stored, ids, boxes, geometry, mode, 0, count, buffer, status)
    assert not status.any()
    return PackedCrops(mode, records, sizes, boxes, torch.from_numpy(buffer), torch.from_numpy(geometry))
