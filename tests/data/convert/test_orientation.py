"""Conversion and reference turn an image as Pillow's exif_transpose does: by EXIF, or by XMP where that is silent."""

import io
import itertools
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.config.write import RulesConfig
from engine.data.convert.record import RecordSettings, make_record
from engine.data.decode.orientation import turned
from engine.data.storage import RAW
from tests.data.odd_files import jpeg, picture, save

SETTINGS = RecordSettings(
    max_resolution=0,
    short_side=0,
    jpeg_quality=90,
    max_bytes=2**23,
    rules=replace(RulesConfig(), exif="apply"),
)


def _xmp(orientation: int, *, element: bool = False) -> bytes:
    said = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if element else ""
    attribute = "" if element else f' tiff:Orientation="{orientation}"'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description{attribute}>{said}</x:xmpmeta>'.encode()


def _exif(tag: int, value: int) -> bytes:
    exif = Image.Exif()
    exif[tag] = value
    return exif.tobytes()


def _late(png: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with a further chunk behind its pixels."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:-12] + chunk + png[-12:]


def _files() -> dict[str, bytes]:
    png = save(picture(), "PNG")
    nothing, six, three = _exif(0x0131, 0), _exif(0x0112, 6), _exif(0x0112, 3)
    late_xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(8)
    text = f"\nexif\n{len(six):8}\n{six.hex()}\n".encode()
    files = {
        "PNG with late EXIF": _late(png, b"eXIf", six.removeprefix(b"Exif\0\0")),
        "PNG with late XMP": _late(png, b"iTXt", late_xmp),
        "PNG with late EXIF and XMP": _late(
            _late(png, b"eXIf", three.removeprefix(b"Exif\0\0")), b"iTXt", late_xmp
        ),
        "PNG with ImageMagick's text": _late(
            png, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)
        ),
    }
    said: dict[str, dict[str, Any]] = {
        "XMP": {"xmp": _xmp(6)},
        "XMP as an element": {"xmp": _xmp(5, element=True)},
        "EXIF and XMP": {"xmp": _xmp(6), "exif": three},
        "EXIF without orientation": {"xmp": _xmp(7), "exif": nothing},
        "upright EXIF": {"xmp": _xmp(6), "exif": _exif(0x0112, 1)},
        "orientation 0": {"xmp": _xmp(6), "exif": _exif(0x0112, 0)},
    }
    for name, options in said.items():
        files[f"JPEG with {name}"] = jpeg(**options)
        files[f"WEBP with {name}"] = save(picture(), "WEBP", lossless=True, **options)
    files["TIFF with XMP"] = save(picture(), "TIFF", tiffinfo={700: _xmp(6)})
    files["TIFF with EXIF"] = save(picture(), "TIFF", tiffinfo={0x0112: 8, 700: _xmp(6)})
    return files


FILES = _files()


@pytest.mark.parametrize("name", FILES)
def test_file_is_turned_as_by_exif_transpose(name: str) -> None:
    content = FILES[name]
    with Image.open(io.BytesIO(content)) as image:
        theirs = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        reference = np.asarray(turned(image).convert("RGB"))
        stays = np.array_equal(theirs, np.asarray(image.convert("RGB")))
    outcome = make_record(content, "", RAW.mode, SETTINGS)
    ours = np.frombuffer(outcome.record, np.uint8).reshape(outcome.height, outcome.width, 3)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(reference, theirs)
    # Pillow turns a TIFF itself as it decodes it, whatever the rule.
    assert ("exif" in outcome.odd) == (name.startswith("TIFF") or not stays)


def test_split_exif_of_a_jpeg_is_read_as_pillow_reads_it() -> None:
    whole = _exif(0x0112, 6)
    parts = [whole[:20], b"Exif\0\0" + whole[20:]]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    content = jpeg()
    content = content[:2] + segments + content[2:]
    with Image.open(io.BytesIO(content)) as image:
        assert ImageOps.exif_transpose(image).size == (40, 60)
    assert make_record(content, "", RAW.mode, SETTINGS).odd == ("exif",)


def test_oversized_png_with_metadata_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    content = _late(save(Image.new("1", (1001, 1000)), "PNG"), b"eXIf", b"MM\0*")
    monkeypatch.setattr(Image.Image, "load", lambda self: loaded.append(self))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: loaded.append(self))
    small = replace(SETTINGS, rules=replace(SETTINGS.rules, max_megapixels=1))
    assert make_record(content, "", RAW.mode, small).rejected == "oversized"
    assert not loaded


def test_every_pair_of_exif_and_xmp_agrees_with_pillow() -> None:
    for exif, xmp in itertools.product(range(10), range(10)):
        content = jpeg(8, 6, exif=_exif(0x0112, exif), xmp=_xmp(xmp))
        with Image.open(io.BytesIO(content)) as image:
            size = ImageOps.exif_transpose(image).size
        outcome = make_record(content, "", RAW.mode, SETTINGS)
        assert (outcome.width, outcome.height) == size
