"""JPEGs with random damage: kept only where libjpeg accepts them; the quick check passes no less and no more."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.data import storage as formats
from engine.data.convert.record import RecordSettings, make_record
from engine.data.decode.pillow_pixels import DamagedError, decode_rgb
from engine.data.native.library import library
from engine.data.storage import jpeg_transcode as transcode
from engine.data.storage.jpeg_header import read_jpeg_header
from tests.data.odd_files import MAKES, jpeg, picture, pixels_of, save

JPEG, RAW, YUV420 = formats.JPEG.mode, formats.RAW.mode, formats.YUV420.mode
ALL_SIZES = RecordSettings(max_resolution=0, short_side=0, jpeg_quality=90, max_bytes=2**24)


def _mutated(random: np.random.Generator, content: bytes) -> bytes:
    """A copy with bytes changed, lost, added or moved, mostly in the header half of the time."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        end = len(data) if random.random() < 0.6 else min(len(data), 700)
        at = int(random.integers(2, max(3, end)))
        what = random.integers(6)
        if what == 0:
            data[at : at + 1] = bytes([random.integers(256)])
        elif what == 1:
            data[at : at + 1] = bytes([data[min(at, len(data) - 1)] ^ (1 << random.integers(8))])
        elif what == 2:
            del data[at : at + int(random.integers(1, 40))]
        elif what == 3:
            data[at:at] = random.bytes(int(random.integers(1, 20)))
        elif what == 4:
            data[at : at + 2] = bytes(
                [0xFF, random.choice([0, 0xC0, 0xC2, 0xC4, 0xD0, 0xD7, 0xD9, 0xDA, 0xFF])]
            )
        else:
            start = int(random.integers(0, len(data)))
            data[at : at + 30] = data[start : start + 30]
        if random.random() < 0.05:
            del data[int(random.integers(2, len(data))) :]
    return bytes(data)


def _fuzz(turns: int, seed: int) -> tuple[int, int]:
    random = np.random.default_rng(seed)
    good = [jpeg(*size, **make) for size in ((40, 56), (17, 9)) for make in MAKES.values()]
    good.append(save(picture().convert("L"), quality=80))
    modes, kept, damaged = (JPEG, JPEG, RAW, YUV420), 0, 0
    for turn in range(turns):
        content = _mutated(random, good[turn % len(good)])
        settings = replace(ALL_SIZES, max_resolution=int(random.choice([0, 0, 20])))
        settings = replace(settings, rules=replace(settings.rules, max_megapixels=1))
        outcome = make_record(content, "a.jpg", modes[turn // len(good) % 4], settings)
        damaged += outcome.rejected == "damaged"
        assert bool(outcome.record) != bool(outcome.rejected)
        if outcome.unchanged:
            kept += 1
            # The lean check of the entropy-coded data accepts nothing that libjpeg would warn of.
            transcode.verify(outcome.record, read_jpeg_header(outcome.record))
            expected = decode_rgb(content)
            assert expected.shape == (outcome.height, outcome.width, 3)
            np.testing.assert_array_equal(pixels_of(outcome.record), expected)
    return kept, damaged


def test_mutated_files_are_kept_only_if_libjpeg_accepts_them(in_c: None) -> None:
    kept, damaged = _fuzz(2000, seed=1)
    assert kept > 100 and damaged > 500


@pytest.mark.slow
def test_many_mutated_files_are_kept_only_if_accepted(in_c: None) -> None:
    kept, damaged = _fuzz(20000, seed=2)
    assert kept > 1000 and damaged > 5000


def test_verify_without_c_library_finds_the_same(in_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    files = [_mutated(random, jpeg(40, 56, **MAKES["420"])) for _ in range(300)]
    headers = []
    for content in files:
        try:
            headers.append((content, read_jpeg_header(content)))
        except ValueError:
            continue
    headers = [(content, header) for content, header in headers if header.width * header.height < 10**6]

    def verdicts() -> list[bool]:
        found = []
        for content, header in headers:
            try:
                transcode.verify(content, header)
                found.append(True)
            except DamagedError:
                found.append(False)
        return found

    in_library = verdicts()
    monkeypatch.setattr(transcode, "library", lambda: None)
    assert 10 < sum(in_library) < len(headers) - 10
    differ = sum(a != b for a, b in zip(in_library, verdicts(), strict=True))
    # TurboJPEG stops at the last row, so it may miss what lies between that and the end.
    assert differ <= len(headers) // 20


def _passed(content: bytes) -> int:
    """What the lean check makes of a JPEG: where the image ends, 0: left to libjpeg."""
    header, native = read_jpeg_header(content), library()
    assert native is not None
    job = transcode._job(content, header.width, header.height)
    return int(job.length) if native.transcode("find_end", job) == 0 else 0


def _is_sound(content: bytes) -> bool:
    try:
        transcode.verify(content, read_jpeg_header(content))
    except DamagedError:
        return False
    return True


@pytest.mark.parametrize("make", ["444", "422", "420", "optimised", "restarts", "often"])
def test_quick_check_passes_files_of_real_encoders(in_c: None, make: str) -> None:
    for height, width, quality in ((1, 1, 50), (8, 8, 99), (150, 203, 20), (399, 250, 92), (700, 900, 98)):
        content = jpeg(height, width, **{**MAKES[make], "quality": quality})
        assert _passed(content) == len(content)
        noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        noisy = save(Image.fromarray(noise), **{**MAKES[make], "quality": quality})
        assert _passed(noisy + b"more") == len(noisy)


def _fuzz_scans(turns: int, seed: int) -> tuple[int, int]:
    """Damage to entropy-coded data alone, in images large enough that it is gone through in several places at once."""
    random = np.random.default_rng(seed)
    good = [jpeg(160, 220, **MAKES[make]) for make in ("444", "420", "optimised", "restarts")]
    good.append(save(picture(160, 220).convert("L"), quality=95))
    passed = sound = 0
    for turn in range(turns):
        content = bytearray(good[turn % len(good)])
        start = read_jpeg_header(bytes(content)).scan
        for _ in range(random.integers(1, 3)):
            at = int(random.integers(start, len(content) - 2))
            # Bits of values change nothing else; lost, added and stuffed bytes do.
            what = random.integers(5)
            if what < 2:
                content[at] ^= 1 << random.integers(8)
            elif what == 2:
                del content[at : at + int(random.integers(1, 3))]
            elif what == 3:
                content[at:at] = random.bytes(int(random.integers(1, 3)))
            else:
                content[at:at] = random.choice([b"\xff\x00", b"\xff\xd9", b"\xff", b"\xff\xd0"])
        data = bytes(content)
        is_sound, end = _is_sound(data), _passed(data)
        assert is_sound or not end
        passed, sound = passed + bool(end), sound + is_sound
    return passed, sound


def test_quick_check_passes_nothing_libjpeg_warns_of(in_c: None) -> None:
    passed, sound = _fuzz_scans(3000, seed=3)
    # What is sound and yet left to libjpeg is rare: leftover bytes that it does not count, coefficients beyond 63.
    assert 30 < passed <= sound < 2900


@pytest.mark.slow
def test_quick_check_of_many_files_agrees_with_libjpeg(in_c: None) -> None:
    passed, sound = _fuzz_scans(60000, seed=4)
    assert 600 < passed <= sound
