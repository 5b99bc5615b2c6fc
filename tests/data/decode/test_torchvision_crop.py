"""validation.crop_law=torchvision: every decoder's pixels against torchvision's Resize and CenterCrop of the image."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional

from engine.data.decode.batch import DecodeBatch
from engine.data.decode.workspace import Workspace
from engine.data.native.library import Library
from engine.data.sampling.crops import CropLaw, ResizeThenCrop, centre_crop, resized_side
from engine.data.storage import JPEG
from engine.data.storage.formats import of_mode
from tests.data.conftest import photo
from tests.data.decode.decoding import Record, jpeg_record, raw_record, yuv420_record

# Shrunk, enlarged, of their own size, wide, high, and with sides that no step divides.
SIZES = [(300, 400), (401, 333), (40, 30), (64, 64), (97, 700), (500, 61)]
CROPS = [(224, 0.875), (96, 1.0), (33, 0.7)]


def _decoded(record: Record, law: CropLaw, side: int, library: Library | None) -> NDArray[np.uint8]:
    heights, widths = np.array([record.height]), np.array([record.width])
    windows = {"windows": law.windows(heights, widths)} if isinstance(law, ResizeThenCrop) else {}
    batch = DecodeBatch(
        memory=np.frombuffer(record.data, np.uint8),
        offsets=np.zeros(1, np.int64),
        sizes=np.array([len(record.data)]),
        heights=heights,
        widths=widths,
        boxes=law.boxes(np.zeros(1, np.int64), heights, widths),
        **windows,
        out=np.empty((1, side, side, 3), np.uint8),
        status=np.full(1, 99, np.uint8),
        exact=True,
    )
    of_mode(record.mode).decode(batch, np.zeros(1, np.int64), Workspace(library))
    assert batch.status.tolist() == [0]
    return batch.out[0]


def _torchvision(pixels: NDArray[np.uint8], side: int, ratio: float) -> NDArray[np.uint8]:
    resized = functional.resize(Image.fromarray(pixels), [resized_side(side, ratio)])
    return np.asarray(functional.center_crop(resized, [side, side]))


def _pixels(record: Record, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(record.data))) if record.mode == JPEG.mode else pixels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_pixels_are_torchvisions_to_a_level(
    c_library: Library, storage: str, crop: tuple[int, float], size: tuple[int, int]
) -> None:
    pixels = photo(*size, 1)
    record = raw_record(pixels) if storage == "raw" else jpeg_record(pixels)
    side, ratio = crop
    wanted = _torchvision(_pixels(record, pixels), side, ratio).astype(int)
    law = centre_crop("torchvision", side, ratio)
    in_c, in_numba = (_decoded(record, law, side, library) for library in (c_library, None))
    np.testing.assert_array_equal(in_c, in_numba)
    assert np.abs(in_c - wanted).max() <= 1
    assert np.abs(in_c - wanted).mean() < 0.3


@pytest.mark.parametrize("size", [(300, 400), (402, 334), (40, 30), (98, 700)])
def test_planes_of_half_size_are_torchvisions_but_for_chroma(
    c_library: Library, size: tuple[int, int]
) -> None:
    """Gray images have no chroma to be halved: what is left of the difference is the crop's."""
    gray = np.repeat(photo(*size, 2)[:, :, 1:2], 3, axis=2)
    law = centre_crop("torchvision", 96, 0.875)
    in_c, in_numba = (_decoded(yuv420_record(gray), law, 96, library) for library in (c_library, None))
    np.testing.assert_array_equal(in_c, in_numba)
    assert np.abs(in_c - _torchvision(gray, 96, 0.875).astype(int)).max() <= 1


def test_chroma_at_the_window_edge_counts_what_lies_beyond(c_library: Library) -> None:
    """A crop of the image alone, without its margin, has other chroma there."""
    pixels = photo(64, 64, 3)
    law, whole = ResizeThenCrop(short_side=128, side=96), ResizeThenCrop(short_side=128, side=128)
    crop, full = (_decoded(yuv420_record(pixels), one, one.side, c_library) for one in (law, whole))
    np.testing.assert_array_equal(crop, full[16:-16, 16:-16])


def test_photos_fused_crop_is_levels_off_and_torchvisions_is_not(c_library: Library, photos: Path) -> None:
    means: dict[str, list[float]] = {"fused": [], "torchvision": []}
    for path in sorted(photos.glob("val/*/*"))[::9]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        record = Record(path.read_bytes(), JPEG.mode, *pixels.shape[:2])
        wanted = _torchvision(pixels, 224, 0.875).astype(int)
        for name, found in means.items():
            ours = _decoded(record, centre_crop(name, 224, 0.875), 224, c_library)
            found.append(float(np.abs(ours - wanted).mean()))
    fused, torchvisions = (np.mean(found) for found in means.values())
    assert fused > 3
    assert torchvisions < 0.25
