"""JPEGs to records without loss: what is kept, what is written anew, and how near transcoding is to Pillow's pixels."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ffcv.libffcv import imdecode
from numpy.typing import NDArray
from PIL import Image

from engine.data import storage as formats
from engine.data.convert.record import Outcome, RecordSettings, make_record
from engine.data.decode.pillow_pixels import decode_rgb
from engine.data.storage import jpeg_transcode as transcode
from engine.data.storage.jpeg_header import read_jpeg_header
from engine.data.storage.shrink import shrink
from engine.data.storage.yuv420 import encode_yuv420, fit
from tests.data.odd_files import MAKES, jpeg, picture, pixels_of, save

JPEG, RAW, YUV420 = formats.JPEG.mode, formats.RAW.mode, formats.YUV420.mode
ALL_SIZES = RecordSettings(max_resolution=0, short_side=0, jpeg_quality=90, max_bytes=2**24)


@pytest.fixture(params=["C", "Pillow"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the C library, where it is built, and without."""
    if request.param == "Pillow":
        monkeypatch.setattr(transcode, "library", lambda: None)
    else:
        request.getfixturevalue("in_c")


def _markers(content: bytes) -> list[int]:
    """The markers before the first scan."""
    found, position = [], 2
    while content[position + 1] != 0xDA:
        found.append(content[position + 1])
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return found


def _scan(content: bytes) -> bytes:
    return content[read_jpeg_header(content).scan :]


# --- kept


@pytest.mark.parametrize("make", MAKES)
def test_jpeg_that_fits_keeps_pixels_without_metadata(either_way: None, make: str) -> None:
    content = jpeg(97, 131, **MAKES[make])
    outcome = make_record(content + b"trailing \xff\xd9 bytes", "a.jpg", JPEG, ALL_SIZES)
    assert outcome.unchanged and (outcome.width, outcome.height) == (131, 97)
    np.testing.assert_array_equal(pixels_of(outcome.record), pixels_of(content))
    assert not {*range(0xE1, 0xEE), 0xFE} & set(_markers(outcome.record))
    assert outcome.record.endswith(b"\xff\xd9") and b"trailing" not in outcome.record
    if make != "progressive":
        assert _scan(outcome.record) == _scan(content)


def test_progressive_becomes_baseline(in_c: None) -> None:
    content = jpeg(97, 131, progressive=True)
    record = make_record(content, "a.jpg", JPEG, ALL_SIZES).record
    assert 0xC2 in _markers(content) and 0xC0 in _markers(record) and 0xC2 not in _markers(record)
    assert record.count(b"\xff\xda") == 1


def test_progressive_ending_early_is_encoded_again(in_c: None) -> None:
    content = jpeg(97, 131, progressive=True)
    early = content[: content.rindex(b"\xff\xda", 0, content.rindex(b"\xff\xda"))] + b"\xff\xd9"
    outcome = make_record(early, "a.jpg", JPEG, ALL_SIZES)
    assert outcome.record and not outcome.unchanged and outcome.odd == ()
    assert np.abs(pixels_of(outcome.record).astype(int) - pixels_of(early)).mean() < 4


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_adobe_marker_is_kept_for_the_colours(either_way: None, subsampling: str) -> None:
    plain = jpeg(33, 47, subsampling=subsampling)
    app0 = plain.index(b"\xff\xe0")
    # Without JFIF, and Adobe saying that the three components are RGB.
    adobe = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\0"
    content = plain[:app0] + adobe + plain[app0 + 18 :]
    outcome = make_record(content, "a.jpg", JPEG, ALL_SIZES)
    np.testing.assert_array_equal(pixels_of(outcome.record), pixels_of(content))
    assert np.abs(pixels_of(content).astype(int) - pixels_of(plain)).mean() > 10
    raw = make_record(content, "a.jpg", RAW, ALL_SIZES)
    assert raw.record == pixels_of(content).tobytes()
    yuv = make_record(content, "a.jpg", YUV420, ALL_SIZES)
    assert yuv.record == encode_yuv420(fit(pixels_of(content), 0, 0))


def test_stock_ffcv_decodes_kept_grayscale_as_pillow_does(either_way: None) -> None:
    content = save(picture(64, 80).convert("L"), quality=90)
    outcome = make_record(content, "a.jpg", JPEG, ALL_SIZES)
    assert outcome.unchanged and outcome.odd == ("grayscale",)
    out = np.zeros((64, 80, 3), np.uint8)
    imdecode(np.frombuffer(outcome.record, np.uint8), out, 64, 80, 64, 80, 0, 0, 1, 1, False, False)
    # Its DCT is the fast one.
    assert np.abs(out.astype(int) - pixels_of(content)).max() <= 2


def test_without_check_only_header_and_end_are_read(
    either_way: None,
) -> None:
    unchecked, content = replace(ALL_SIZES, jpeg_check=False), jpeg(97, 131)
    assert make_record(content, "a.jpg", JPEG, unchecked) == make_record(content, "a.jpg", JPEG, ALL_SIZES)
    middle = (read_jpeg_header(content).scan + len(content)) // 2
    damaged = content[:middle] + b"\xff\xc0" * 9 + content[middle + 18 :]
    assert make_record(damaged, "a.jpg", JPEG, ALL_SIZES).rejected == "damaged"
    assert make_record(damaged, "a.jpg", JPEG, unchecked).unchanged
    short = make_record(content[:middle], "a.jpg", JPEG, unchecked)
    assert short.rejected == "damaged" and "lacks the end of the image" in short.reason
    assert make_record(b"\xff\xd8\xff" + content[3:40], "a.jpg", JPEG, unchecked).rejected == "damaged"


def test_without_jpeg_unchanged_every_image_is_encoded_again(either_way: None) -> None:
    outcome = make_record(jpeg(), "a.jpg", JPEG, replace(ALL_SIZES, jpeg_unchanged=False, jpeg_quality=20))
    assert not outcome.unchanged and len(outcome.record) < len(jpeg())


def test_image_above_the_limit_is_encoded_again(either_way: None) -> None:
    limited = replace(ALL_SIZES, max_resolution=60)
    assert make_record(jpeg(40, 60), "a.jpg", JPEG, limited).unchanged
    outcome = make_record(jpeg(40, 61), "a.jpg", JPEG, limited)
    assert not outcome.unchanged and (outcome.width, outcome.height) == (60, 39)
    assert pixels_of(outcome.record).shape == (39, 60, 3)


@pytest.mark.parametrize("damage", ["no end", "byte lost", "bytes added", "cut", "noise"])
@pytest.mark.parametrize("make", ["420", "restarts", "progressive"])
def test_damage_is_found_before_storing(either_way: None, make: str, damage: str) -> None:
    content = jpeg(200, 200, **MAKES[make])
    middle = len(content) - 1500
    broken = {
        "no end": content[:-2],
        "byte lost": content[:-3] + content[-2:],
        "bytes added": content[:-2] + b"\x55" * 20 + content[-2:],
        "cut": content[:middle],
        "noise": content[:middle] + b"\xff\x55" * 9 + content[middle + 18 :],
    }[damage]
    assert make_record(broken, "a.jpg", JPEG, ALL_SIZES).rejected == "damaged"


def test_many_scans_do_not_stop_a_conversion(in_c: None) -> None:
    content = jpeg(16, 16, progressive=True)
    end = content.rindex(b"\xff\xda")
    bomb = content[:-2] + content[end:-2] * 5000 + content[-2:]
    outcome = make_record(bomb, "a.jpg", JPEG, ALL_SIZES)
    assert outcome.rejected == "damaged"


def test_encoder_name_is_that_of_the_encoder_used(either_way: None, request: pytest.FixtureRequest) -> None:
    in_c = "C" in request.node.callspec.id
    assert transcode.encoder_name().endswith(", C" if in_c else "OpenCV")
    assert transcode.encoder_name().startswith("libjpeg-turbo " if in_c else "Pillow")


# --- transcoded


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("size", [(97, 131), (128, 128), (1, 1), (3, 200), (200, 15)])
def test_raw_pixels_at_full_size_are_pillows(either_way: None, make: str, size: tuple[int, int]) -> None:
    content = jpeg(*size, **MAKES[make])
    assert make_record(content, "a.jpg", RAW, ALL_SIZES).record == pixels_of(content).tobytes()


@pytest.mark.parametrize("make", ["444", "422", "420", "progressive"])
@pytest.mark.parametrize("mode", [JPEG, RAW, YUV420])
@pytest.mark.parametrize("size", [(97, 131), (250, 333), (1, 90), (90, 1), (600, 40)])
def test_transcoded_sizes_equal_those_through_pillow(make: str, mode: int, size: tuple[int, int]) -> None:
    content = jpeg(*size, **MAKES[make])
    for limit in (7, 64, 100, 0):
        settings = replace(ALL_SIZES, max_resolution=limit, jpeg_unchanged=False)
        ours, pillows = (
            make_record(image, "a.jpg", mode, settings) for image in (content, decode_rgb(content))
        )
        assert (ours.width, ours.height) == (pillows.width, pillows.height)
        if mode != JPEG:
            assert len(ours.record) == len(pillows.record)
        else:
            assert pixels_of(ours.record).shape == (ours.height, ours.width, 3)


def test_420_planes_are_stored_unchanged(in_c: None) -> None:
    content = jpeg(64, 96, subsampling="4:2:0")
    with Image.open(io.BytesIO(content)) as image:
        image.draft("YCbCr", None)
        luma = np.asarray(image)[:, :, 0]
    record = make_record(content, "a.jpg", YUV420, ALL_SIZES).record
    assert record[: 64 * 96] == luma.tobytes()
    # Encoded anew in the same quality, the same planes give the same coefficients.
    again = replace(ALL_SIZES, jpeg_unchanged=False, jpeg_quality=92, jpeg_subsampling="420")
    twice = make_record(content, "a.jpg", JPEG, again).record
    difference = pixels_of(twice).astype(int) - pixels_of(content)
    assert np.abs(difference).mean() < 0.2


def test_grayscale_has_no_colour(either_way: None) -> None:
    content = save(picture(64, 80).convert("L"), quality=95)
    yuv = np.frombuffer(make_record(content, "a.jpg", YUV420, ALL_SIZES).record, np.uint8)
    np.testing.assert_array_equal(yuv[: 64 * 80], pixels_of(content)[:, :, 0].ravel())
    assert (yuv[64 * 80 :] == 128).all()
    small = make_record(content, "a.jpg", JPEG, replace(ALL_SIZES, max_resolution=30)).record
    assert np.ptp(pixels_of(small).astype(int), axis=2).max() == 0


@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
def test_jpeg_subsampling_is_applied(either_way: None, subsampling: str) -> None:
    settings = replace(ALL_SIZES, max_resolution=50, jpeg_subsampling=subsampling)
    record = make_record(jpeg(90, 90, subsampling="4:4:4"), "a.jpg", JPEG, settings).record
    at = record.index(b"\xff\xc0")
    assert record[at + 11] == {"420": 0x22, "422": 0x21, "444": 0x11}[subsampling]


# --- photos


@pytest.fixture(scope="session")
def contents(photos: Path) -> list[bytes]:
    """The 488 photos."""
    return [path.read_bytes() for path in sorted(photos.rglob("*.JPEG"))]


def _made(contents: Sequence[bytes], mode: int, settings: RecordSettings) -> list[Outcome]:
    return [make_record(content, "a.JPEG", mode, settings) for content in contents]


@pytest.mark.parametrize("mode", [JPEG, RAW, YUV420])
def test_all_photos_are_stored_and_odd_ones_counted(in_c: None, contents: list[bytes], mode: int) -> None:
    settings = replace(ALL_SIZES, max_resolution=500, short_side=256)
    outcomes = _made(contents, mode, settings)
    assert {outcome.rejected for outcome in outcomes} == {""}
    assert sum("grayscale" in outcome.odd for outcome in outcomes) == 12
    assert {kind for outcome in outcomes for kind in outcome.odd} == {"grayscale", "exif"}
    if mode == JPEG:
        assert sum(outcome.unchanged for outcome in outcomes) == 425


def test_kept_photos_keep_their_pixels(in_c: None, contents: list[bytes]) -> None:
    for content in contents[::4]:
        outcome = make_record(content, "a.JPEG", JPEG, ALL_SIZES)
        assert outcome.unchanged and _scan(content).startswith(_scan(outcome.record))
        np.testing.assert_array_equal(pixels_of(outcome.record), pixels_of(content))


def _difference(ours: bytes, other: bytes, part: slice = slice(None)) -> NDArray[np.int64]:
    both = [np.frombuffer(record, np.uint8).astype(np.int64)[part] for record in (ours, other)]
    return both[0] - both[1]


@pytest.mark.parametrize(("limit", "mean", "largest"), [(0, 0, 0), (400, 0.2, 2), (160, 1.8, 8)])
def test_raw_photos_are_near_pillows(
    in_c: None, contents: list[bytes], limit: int, mean: float, largest: float
) -> None:
    """Levels of 255: the mean over photos, the largest mean of one. Shrunk to a half or less, the DCT does a part."""
    means = []
    for content in contents[::8]:
        ours = make_record(content, "a.JPEG", RAW, replace(ALL_SIZES, max_resolution=limit)).record
        difference = _difference(ours, shrink(decode_rgb(content), limit).tobytes())
        assert abs(difference.mean()) < 0.3
        means.append(np.abs(difference).mean())
    assert np.mean(means) <= mean and max(means) <= largest


@pytest.mark.parametrize(("short_side", "mean", "largest"), [(0, 0.05, 0.2), (256, 0.3, 2.5), (128, 1.8, 8)])
def test_yuv420_photos_are_near_those_made_from_rgb(
    in_c: None, contents: list[bytes], short_side: int, mean: float, largest: float
) -> None:
    """As above for Y. Chroma takes no turn through RGB, which clips it, and no upsampling, which blurs it."""
    luma_means, chroma_means = [], []
    for content in contents[::8]:
        outcome = make_record(content, "a.JPEG", YUV420, replace(ALL_SIZES, short_side=short_side))
        other = encode_yuv420(fit(decode_rgb(content), short_side, 0))
        luma = outcome.width * outcome.height
        luma_means.append(np.abs(_difference(outcome.record, other, slice(luma))).mean())
        chroma_means.append(np.abs(_difference(outcome.record, other, slice(luma, None))).mean())
    assert np.mean(luma_means) < mean and max(luma_means) < largest
    assert np.mean(chroma_means) < 0.4 and max(chroma_means) < 2.5


@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_reencoded_photos_lose_no_more_than_from_rgb(
    in_c: None, contents: list[bytes], subsampling: str
) -> None:
    settings = replace(ALL_SIZES, max_resolution=400, jpeg_subsampling=subsampling)
    ours: list[float] = []
    others: list[float] = []
    sizes = []
    for content in contents[::8]:
        pixels = shrink(decode_rgb(content), 400)
        records = [
            make_record(content, "a.JPEG", JPEG, replace(settings, jpeg_unchanged=False)).record,
            formats.JPEG.encode(pixels, settings),
        ]
        for record, errors in zip(records, (ours, others), strict=True):
            errors.append(np.abs(pixels_of(record).astype(int) - pixels).mean())
        sizes.append(len(records[0]) / len(records[1]))
    assert np.mean(ours) < np.mean(others) * 1.02
    assert 0.98 < np.mean(sizes) < 1.02
