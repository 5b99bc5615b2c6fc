"""Records are those of ffcv, but never of zero pixels, and always fit the format."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from ffcv.fields import RGBImageField
from numpy.typing import NDArray

from engine.data import layout
from engine.data.encode import EncodeSettings, Task, encode_chunk, encode_image, shrink
from engine.errors import UserError


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Pixels:
    """A reader of ids such as "20x30"."""

    def read(self, sample_id: str) -> NDArray[np.uint8]:
        height, width = sample_id.split("x")
        return _noise(int(height), int(width))

    def where(self, sample_id: str) -> str:
        return f"the image {sample_id}"


def _task(*ids: str, max_resolution: int = 0, max_bytes: int = 2**21) -> Task:
    settings = EncodeSettings(
        max_resolution=max_resolution, short_side=0, jpeg_quality=90, max_bytes=max_bytes
    )
    modes = np.full(len(ids), layout.MODE_RAW, np.uint8)
    return Task(first=7, ids=ids, modes=modes, reader=Pixels(), settings=settings)


@pytest.mark.parametrize("mode", [layout.MODE_JPEG, layout.MODE_RAW])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (31, 17), (64, 64), (200, 100), (100, 250)])
@pytest.mark.parametrize("quality", [50, 90])
def test_records_are_byte_for_byte_those_of_ffcv(mode: int, size: tuple[int, int], quality: int) -> None:
    pixels = _noise(*size)
    field = RGBImageField(
        write_mode="jpg" if mode == layout.MODE_JPEG else "raw", max_resolution=100, jpeg_quality=quality
    )
    metadata = np.zeros(1, layout.IMAGE)
    memory: list[NDArray[np.uint8]] = []

    def malloc(count: int) -> tuple[int, NDArray[np.uint8]]:
        memory.append(np.zeros(count, np.uint8))
        return 0, memory[0]

    field.encode(metadata, pixels, malloc)
    ours = shrink(pixels, 100)
    assert encode_image(ours, mode, quality, "") == memory[0].tobytes()
    assert (mode, ours.shape[1], ours.shape[0], 0) == metadata[0].item()


@pytest.mark.parametrize("longer", range(501, 4000, 117))
def test_the_longer_side_becomes_exactly_the_maximum(longer: int) -> None:
    assert shrink(np.zeros((longer, 300, 3), np.uint8), 500).shape == (500, 300 * 500 // longer, 3)
    assert shrink(np.zeros((300, longer, 3), np.uint8), 500).shape == (300 * 500 // longer, 500, 3)


def test_shrinking_leaves_small_images_alone_and_at_least_one_pixel_of_thin_ones() -> None:
    small = _noise(20, 30)
    assert shrink(small, 30) is small
    assert shrink(small, 0) is small
    assert shrink(np.zeros((5000, 2, 3), np.uint8), 100).shape == (100, 1, 3)


def test_a_chunk_keeps_its_order() -> None:
    records = encode_chunk(_task("2x3", "30x20", max_resolution=15))
    assert records.sizes == [18, 15 * 10 * 3]
    assert records.images.tolist() == [(1, 3, 2, 0), (1, 10, 15, 0)]
    assert records.payload[:18] == _noise(2, 3).tobytes()
    shrunk = cv2.resize(_noise(30, 20), (10, 15), interpolation=cv2.INTER_AREA)
    assert records.payload[18:] == shrunk.tobytes()


def test_an_image_larger_than_a_page_is_named_with_the_remedy() -> None:
    assert encode_chunk(_task("10x10", max_bytes=300)).sizes == [300]
    with pytest.raises(UserError) as caught:
        encode_chunk(_task("1x1", "10x11", max_bytes=300))
    message = str(caught.value)
    assert "image 8 (the image 10x11) takes 330 bytes" in message
    assert "--output.max_resolution" in message and "--output.page_size" in message


@pytest.mark.parametrize(("mode", "side"), [(layout.MODE_JPEG, 65501), (layout.MODE_RAW, 65536)])
def test_an_image_too_wide_for_the_format_is_refused(mode: int, side: int) -> None:
    with pytest.raises(UserError, match=rf"photo.png has {side} x 1 pixels.*--output.max_resolution"):
        encode_image(np.zeros((1, side, 3), np.uint8), mode, 90, "photo.png")
    encode_image(np.zeros((1, side - 1, 3), np.uint8), mode, 90, "photo.png")
