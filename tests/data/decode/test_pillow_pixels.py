"""Image files become the pixels that Pillow makes of them, or one line that says why not."""

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from engine.data.decode.pillow_pixels import decode_rgb, open_image


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "1", "LA", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (13, 7)])
def test_odd_images_decode_like_pillow(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, {"CMYK": "JPEG"}.get(mode, "PNG"))
    pixels = decode_rgb(file.getvalue())
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(file).convert("RGB")))


def test_16_bits_keep_the_upper_eight() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (7, 13), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    np.testing.assert_array_equal(decode_rgb(file.getvalue()), np.repeat((deep >> 8)[:, :, None], 3, axis=2))


def test_exif_rotation_is_applied_only_if_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=exif)
    assert decode_rgb(file.getvalue()).shape == (4, 6, 3)
    assert decode_rgb(file.getvalue(), upright=True).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello, I am a text file\n" * 100, "it is not an image in a format known here"),
        (b"", "it is not an image in a format known here"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "its header is damaged or cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "header"),
    ],
)
def test_file_that_is_not_an_image_is_refused_with_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_rgb(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_image_is_an_error(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    data = file.getvalue()
    with pytest.raises(ValueError, match=r".+"):
        decode_rgb(data[: int(len(data) * share)])


def test_threads_decode_at_once_under_equal_settings() -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    before, both, seen = Image.MAX_IMAGE_PIXELS, threading.Barrier(2, timeout=30), []

    def work() -> None:
        with open_image(content.getvalue(), most_pixels=100):
            both.wait()
            seen.append(Image.MAX_IMAGE_PIXELS)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [50, 50] and before == Image.MAX_IMAGE_PIXELS


def test_threads_with_other_settings_wait_for_their_turn() -> None:
    content, seen = io.BytesIO(), []
    Image.new("RGB", (4, 4)).save(content, "PNG")

    def other() -> None:
        with open_image(content.getvalue(), most_pixels=200):
            seen.append(Image.MAX_IMAGE_PIXELS)

    with open_image(content.getvalue(), most_pixels=100):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        assert seen == [] and Image.MAX_IMAGE_PIXELS == 50
    thread.join()
    assert seen == [100]
