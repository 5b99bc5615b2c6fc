"""An image given as an object gets the rules and pixels of its file's bytes, whatever brought it."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.config.write import RulesConfig
from engine.data.convert.duplicates import digest_of
from engine.data.convert.record import Outcome, RecordSettings, make_record
from engine.data.sources.base import Content
from engine.data.storage import RAW
from tests.data.odd_files import deep_gray, jpeg, odd_files, picture, pixels_of, save, with_orientation


def _opened(content: bytes, *, loaded: bool) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    if loaded:
        image.load()
    return image


def _record(content: Content, **rules: object) -> Outcome:
    settings = RecordSettings(
        max_resolution=0,
        short_side=0,
        jpeg_quality=90,
        max_bytes=2**23,
        rules=replace(RulesConfig(), **rules),  # type: ignore[arg-type]
    )
    return make_record(content, "train/0000000", RAW.mode, settings)


def _files() -> dict[str, bytes]:
    """Every kind of odd file, and every mode of Pillow's that can be saved."""
    files = {kind: content for kind, (_, content) in odd_files().items() if kind != "damaged"}
    gray = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27
    files |= {
        f"{mode} {form}": save(picture().convert(mode), form)
        for form, modes in (("PNG", ("1", "L", "LA", "P", "RGBA")), ("TIFF", ("L", "CMYK", "F", "I", "LAB")))
        for mode in modes
    }
    files["I;16 PNG"], files["I;16 TIFF"] = deep_gray(), save(Image.fromarray(gray), "TIFF")
    files["P with transparency"] = save(picture().quantize(8), "PNG", transparency=3)
    return files


FILES = _files()


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_object_has_pixels_and_oddities_of_its_bytes(name: str, loaded: bool) -> None:
    content = FILES[name]
    of_bytes, of_object = _record(content), _record(_opened(content, loaded=loaded))
    assert of_object.record == of_bytes.record and of_bytes.record
    # Once decoded, an RGB image does not say how deep it was.
    assert set(of_object.odd) | ({"deep"} if loaded and name == "deep" else set()) == set(of_bytes.odd)
    if "deep" not in of_bytes.odd:
        assert of_bytes.record == pixels_of(content).tobytes()


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize("kind", ["cmyk", "grayscale", "palette", "transparent", "deep"])
def test_rules_apply_to_objects(kind: str, policy: str) -> None:
    image = _opened(odd_files()[kind][1], loaded=False)
    assert _record(image, **{kind: policy}).rejected == kind


def test_rules_apply_to_arrays() -> None:
    gray = np.asarray(picture().convert("L"))
    assert _record(gray).odd == ("grayscale",)
    assert _record(gray).record == np.repeat(gray[:, :, None], 3, 2).tobytes()
    assert _record(gray, grayscale="skip").rejected == "grayscale"
    wide = np.zeros((1000, 1001, 3), np.uint8)
    assert _record(wide, max_megapixels=1).rejected == "oversized"
    assert _record(Image.fromarray(wide), max_megapixels=1).rejected == "oversized"


def test_damaged_object_follows_its_rule() -> None:
    cut = jpeg()[:900]
    assert _record(_opened(cut, loaded=False)).rejected == "damaged"
    repaired = _record(_opened(cut, loaded=False), damaged="repair")
    assert (repaired.odd, repaired.rejected) == (("damaged",), "")
    assert repaired.record == _record(cut, damaged="repair").record


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_apply_turns_objects_as_bytes(orientation: int, loaded: bool) -> None:
    content = with_orientation(orientation)
    of_bytes = _record(content, exif="apply")
    for image in (_opened(content, loaded=loaded), _opened(content, loaded=loaded).convert("RGB")):
        of_object = _record(image, exif="apply")
        assert (of_object.record, of_object.odd) == (of_bytes.record, of_bytes.odd)
        assert (of_object.width, of_object.height) == (of_bytes.width, of_bytes.height)


def test_digest_of_object_is_that_of_its_pixels() -> None:
    image = picture()
    assert digest_of(image) == digest_of(np.asarray(image))
    gray = image.convert("L")
    assert digest_of(gray) == digest_of(np.asarray(gray)) != digest_of(image)
