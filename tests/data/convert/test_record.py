"""Odd images by rule: a hand-made file of each kind under each policy, and what is never a rule's business."""

import io
import zlib
from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.config.write import RulesConfig
from engine.data.convert.record import Outcome, RecordSettings, make_record
from engine.data.native.library import library
from engine.data.storage import JPEG, YUV420
from engine.data.storage import RAW as RAW_FORMAT
from engine.data.storage import jpeg_transcode as transcode
from engine.errors import UserError
from tests.data.odd_files import (
    deep_gray,
    jpeg,
    jpeg_of_size,
    odd_files,
    picture,
    pixels_of,
    save,
    with_orientation,
)

RAW = RAW_FORMAT.mode
ODD = odd_files()


@pytest.fixture(params=["C", "Pillow"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the C library, where it is built, and without."""
    native = library()
    if request.param == "Pillow":
        monkeypatch.setattr(transcode, "library", lambda: None)
    elif native is None or not native.has_jpeg:
        pytest.skip("the C library is not built with JPEG here")
    return str(request.param)


def settings(**rules: object) -> RecordSettings:
    """Everything at full size; these rules."""
    return RecordSettings(
        max_resolution=0,
        short_side=0,
        jpeg_quality=90,
        max_bytes=2**23,
        rules=replace(RulesConfig(), **rules),  # type: ignore[arg-type]
    )


def raw_pixels(outcome: Outcome) -> np.ndarray:
    """The pixels of a raw record."""
    return np.frombuffer(outcome.record, np.uint8).reshape(outcome.height, outcome.width, 3)


def test_every_rule_has_an_example_file() -> None:
    elsewhere = {"empty", "unreadable", "oversized", "max_megapixels", "max_megabytes", "exif"}
    elsewhere |= {"duplicate", "leak", "conflict"}
    assert set(ODD) == set(get_type_hints(RulesConfig)) - elsewhere


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_rejected_image_has_kind_and_reason(either_way: str, kind: str, policy: str) -> None:
    name, content = ODD[kind]
    for mode in (JPEG.mode, RAW, YUV420.mode):
        outcome = make_record(content, name, mode, settings(**{kind: policy}))
        assert (outcome.record, outcome.rejected) == (b"", kind)
        assert kind in outcome.odd
        assert outcome.reason and "\n" not in outcome.reason


@pytest.mark.parametrize("kind", ODD)
def test_repaired_image_has_pillows_pixels(either_way: str, kind: str) -> None:
    name, content = ODD[kind]
    outcome = make_record(content, name, RAW, settings(**{kind: "repair"}))
    assert (outcome.rejected, outcome.reason) == ("", "")
    assert outcome.odd == (kind,)
    if kind != "damaged":
        np.testing.assert_array_equal(raw_pixels(outcome), pixels_of(content))
    for mode in (JPEG.mode, YUV420.mode):
        other = make_record(content, name, mode, settings(**{kind: "repair"}))
        assert (other.mode, other.odd, other.rejected) == (mode, (kind,), "")
        assert other.record and (other.width, other.height) == (outcome.width, outcome.height)
    if kind == "damaged":
        # What came before the cut is what it was but for the chroma next to it, and the image has its size.
        np.testing.assert_array_equal(raw_pixels(outcome)[:15], pixels_of(jpeg())[:15])


def test_repaired_jpeg_record_is_sound(either_way: str) -> None:
    record = make_record(ODD["damaged"][1], "a.jpg", 0, settings(damaged="repair")).record
    assert make_record(record, "a.jpg", 0, settings()).odd == ()


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize(
    ("kind", "content"),
    [("empty", b""), ("unreadable", b"<html>404</html>"), ("unreadable", b"\0" * 5000)],
)
def test_file_without_image_is_rejected(kind: str, content: bytes, policy: str) -> None:
    outcome = make_record(content, "a.JPEG", 0, settings(**{kind: policy}))
    assert (outcome.odd, outcome.rejected, outcome.record) == ((kind,), kind, b"")


def test_damage_beyond_repair_is_unreadable(either_way: str) -> None:
    for content in (
        jpeg()[:30],
        save(picture(), "PNG")[:40],
        b"\xff\xd8\xff\xe0",
        jpeg()[:-1].replace(b"\xff\xda", b"\0\0"),
    ):
        outcome = make_record(content, "a", 0, settings(damaged="repair", unreadable="skip"))
        assert outcome.odd == ("damaged", "unreadable")
        assert outcome.rejected == "unreadable"


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_cut_short_are_damaged(form: str) -> None:
    content = save(picture(), form)
    assert make_record(content, f"a.{form.lower()}", RAW, settings()).record
    cut = make_record(content[: len(content) // 2], f"a.{form.lower()}", RAW, settings())
    assert "damaged" in cut.odd and cut.rejected == "damaged"


@pytest.mark.parametrize("place", [0.4, 0.7, 0.95])
def test_changed_byte_with_libjpeg_warning_is_damage(either_way: str, place: float) -> None:
    content = bytearray(jpeg(200, 200, quality=95))
    at = int(len(content) * place)
    content[at : at + 2] = b"\xff\xd5"
    for mode in (0, 1, 2):
        outcome = make_record(bytes(content), "a.jpg", mode, settings())
        assert (outcome.odd, outcome.rejected) == (("damaged",), "damaged")


def test_pixels_from_a_source_pass_without_rules() -> None:
    pixels = np.asarray(picture())
    outcome = make_record(pixels, "", RAW, settings(grayscale="fail"))
    assert (outcome.record, outcome.odd) == (pixels.tobytes(), ())


def test_fail_takes_precedence_over_skip() -> None:
    content = save(picture().convert("L"), "PNG")
    outcome = make_record(content, "a.jpg", RAW, settings(misnamed="skip", grayscale="fail"))
    assert set(outcome.odd) == {"misnamed", "grayscale"}
    assert outcome.rejected == "grayscale"


def test_16_bit_gray_keeps_its_upper_bits() -> None:
    outcome = make_record(deep_gray(), "a.png", RAW, settings())
    assert set(outcome.odd) == {"deep", "grayscale"}
    assert raw_pixels(outcome)[:, 0].tolist() == [[20 * row] * 3 for row in range(8)]


@pytest.mark.parametrize(
    ("name", "content", "misnamed"),
    [
        ("x.JPEG", jpeg(), False),
        ("x.jpg", jpeg(), False),
        ("x", jpeg(), False),
        ("x.cls.0001", jpeg(), False),
        ("x.png", jpeg(), True),
        ("x.jpg", save(picture(), "WEBP"), True),
        ("x.webp", save(picture(), "WEBP"), False),
        ("x.tiff", save(picture(), "TIFF"), False),
    ],
)
def test_misnamed_is_only_a_name_of_another_format(name: str, content: bytes, misnamed: bool) -> None:
    assert ("misnamed" in make_record(content, name, RAW, settings()).odd) == misnamed


# --- rotation


def test_rotation_is_counted_but_not_applied_by_default(either_way: str) -> None:
    for mode in (0, 1, 2):
        outcome = make_record(with_orientation(6), "a.jpg", mode, settings())
        assert outcome.odd == ("exif",)
        assert (outcome.width, outcome.height) == (60, 40)
        assert outcome.unchanged == (mode == 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_apply_turns_jpegs(either_way: str, orientation: int) -> None:
    content = with_orientation(orientation)
    with Image.open(io.BytesIO(content)) as image:
        turned = np.asarray(ImageOps.exif_transpose(image))
    raw = make_record(content, "a.jpg", RAW, settings(exif="apply"))
    np.testing.assert_array_equal(raw_pixels(raw), turned)
    assert raw.odd == (("exif",) if orientation > 1 else ())
    encoded = make_record(content, "a.jpg", 0, settings(exif="apply"))
    assert encoded.unchanged == (orientation == 1)
    # No decoder turns it a second time.
    assert Image.open(io.BytesIO(encoded.record)).getexif().get(0x0112, 1) == 1
    assert np.abs(pixels_of(encoded.record).astype(int) - turned).mean() < 4


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_exif_apply_turns_other_formats(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    content = save(picture(), form, exif=exif.tobytes(), lossless=True)
    outcome = make_record(content, "a", RAW, settings(exif="apply"))
    assert outcome.odd == ("exif",)
    np.testing.assert_array_equal(raw_pixels(outcome), np.rot90(np.asarray(picture())))


def test_damaged_exif_turns_nothing() -> None:
    content = with_orientation(6).replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert b"Exif\0\0XX" in content
    assert make_record(content, "a.jpg", 0, settings(exif="apply")).odd == ()


# --- sizes


def test_oversized_image_is_rejected_by_its_header(either_way: str) -> None:
    # The header alone: nothing behind it is looked at.
    bomb = jpeg_of_size(20000, 15000)
    outcome = make_record(bomb, "a.jpg", 0, settings())
    assert (outcome.rejected, outcome.reason) == (
        "oversized",
        "it has 20000 x 15000 pixels, more than rules.max_megapixels=200",
    )
    png = bytearray(save(picture(), "PNG"))
    png[16:24] = (20_000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    assert make_record(bytes(png), "a.png", 0, settings(oversized="skip")).rejected == "oversized"


def test_oversized_repair_stores_the_image(either_way: str) -> None:
    allowed = replace(settings(oversized="repair", max_megapixels=1), max_resolution=100)
    for content in (jpeg(1000, 1500), save(picture(1000, 1500), "PNG")):
        outcome = make_record(content, "a", JPEG.mode, allowed)
        assert (outcome.odd, outcome.rejected) == (("oversized",), "")
        assert (outcome.width, outcome.height) == (100, 66)


def test_max_megapixels_limits_the_pixels() -> None:
    content = jpeg(1000, 1000)
    assert make_record(content, "a.jpg", 0, settings(max_megapixels=1)).odd == ()
    assert make_record(jpeg(1000, 1001), "a.jpg", 0, settings(max_megapixels=1)).odd == ("oversized",)


@pytest.mark.parametrize(
    ("mode", "limit", "words"),
    [
        (JPEG.mode, 500, "bytes, more than a page of 500"),
        (RAW, 7199, "it takes 7200 bytes, more than a page of 7199"),
        (YUV420.mode, 3599, "it takes 3600 bytes, more than a page of 3599"),
    ],
)
def test_record_larger_than_a_page_names_the_remedy(
    either_way: str, mode: int, limit: int, words: str
) -> None:
    for unchanged in (True, False):
        with pytest.raises(UserError) as caught:
            make_record(jpeg(), "a.jpg", mode, replace(settings(), max_bytes=limit, jpeg_unchanged=unchanged))
        assert "bytes" in str(caught.value) and "--output.page_size" in str(caught.value)
        assert unchanged is False or words in str(caught.value)
    make_record(jpeg(), "a.jpg", RAW, replace(settings(), max_bytes=7200))


def test_side_too_long_for_the_format_is_refused(either_way: str) -> None:
    content = save(Image.new("L", (65535, 2)), "PNG")
    with pytest.raises(UserError, match=r"65535 x 2 pixels, more than the format's 65500 a side"):
        make_record(content, "a.png", JPEG.mode, settings())
    # 65535 becomes even.
    with pytest.raises(UserError, match=r"65536 x 2 pixels, more than the format's 65535 a side"):
        make_record(content, "a.png", YUV420.mode, settings())
