"""Real photos through every decoder, against Pillow's crop and resize of the same photo: the gap to deployment."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.data.decode.batch import OK
from engine.data.native.library import Library
from engine.data.sampling.crops import CenterCrop, CropLaw, RandomResizedCrop
from engine.data.storage import JPEG
from engine.data.storage.yuv420 import fit
from tests.data.decode.decoding import Record, decode_boxes, difference, pillow, raw_record, yuv420_record

RESOLUTIONS = [64, 128, 160, 192, 224]
LAWS: dict[str, CropLaw] = {"train": RandomResizedCrop(seed=0, epoch=0), "val": CenterCrop(ratio=0.875)}
EVERY = 5

# Mean difference to Pillow in levels, over all photos. Raw differs by rounding alone, and so does JPEG in validation;
# yuv420 also by chroma of half the size. In training, where a crop is at least twice the target, the DCT does a part
# of a JPEG's shrinking, by averaging less than the triangle filter does, which shows in photos of fine texture.
MOST = {
    ("raw", "train"): 0.25,
    ("raw", "val"): 0.25,
    ("jpeg", "train"): 1.9,
    ("jpeg", "val"): 0.25,
    ("yuv420", "train"): 1.4,
    ("yuv420", "val"): 1.4,
}


@pytest.fixture(scope="module")
def some_photos(photos: Path) -> list[bytes]:
    """A fifth of the validation photos, as files."""
    return [path.read_bytes() for path in sorted(photos.glob("val/*/*"))[::EVERY]]


def _stored(data: bytes, storage: str) -> tuple[Record, NDArray[np.uint8]]:
    """The record of a photo, and the pixels that it is a record of."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if storage == "jpeg":
        return Record(data, JPEG.mode, *pixels.shape[:2]), pixels
    if storage == "raw":
        return raw_record(pixels), pixels
    pixels = fit(pixels, 256, 0)
    return yuv420_record(pixels), pixels


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize(("storage", "law"), MOST)
def test_photos_are_close_to_pillow(
    some_photos: list[bytes], c_library: Library, storage: str, law: str, resolution: int
) -> None:
    means: list[float] = []
    most = 0
    for number, data in enumerate(some_photos):
        record, pixels = _stored(data, storage)
        size = (np.array([side]) for side in pixels.shape[:2])
        (box,) = LAWS[law].boxes(np.array([number]), *size)
        (ours,), (status,) = decode_boxes(record, box, resolution, c_library, exact=law == "val")
        assert status == OK
        highest, mean = difference(ours, pillow(Image.fromarray(pixels), box, resolution))
        means.append(mean)
        most = max(most, highest)
    print(
        f"\n{storage} {law} {resolution}: mean {np.mean(means):.3f}, worst photo {max(means):.3f}, most {most}"
    )
    assert np.mean(means) < MOST[storage, law], (
        f"mean {np.mean(means):.3f}, worst photo {max(means):.3f}, most {most}"
    )
    assert storage != "raw" or most <= 1


def test_photos_decode_alike_in_c_and_numba(some_photos: list[bytes], c_library: Library) -> None:
    for number, data in enumerate(some_photos):
        record, pixels = _stored(data, "jpeg")
        size = (np.array([side]) for side in pixels.shape[:2])
        (box,) = LAWS["train"].boxes(np.array([number]), *size)
        for exact in (False, True):
            in_c, in_numba = (
                decode_boxes(record, box, 128, library, exact=exact)[0] for library in (c_library, None)
            )
            np.testing.assert_array_equal(in_c, in_numba)
