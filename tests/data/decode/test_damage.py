"""A record that can't be decoded is named, with its reason, and spoils no other."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.beton.reader import Beton, open_beton
from engine.data.decode.batch import BAD_JPEG, DecodeBatch
from engine.data.loading.decode_pool import DecodePool
from engine.data.storage.jpeg import JpegFormat
from tests.data.betons import fixed, overwrite, record, shorten, write_pixels
from tests.data.conftest import photo
from tests.data.decode.pooling import COUNT, SIDE, WHOLE, decode, squares


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The squares, stored as JPEG."""
    return write_pixels(tmp_path_factory.mktemp("jpeg"), squares(), "jpeg").read_bytes()


@pytest.fixture
def damaged(written: bytes, tmp_path: Path) -> Beton:
    """The same in a file of this test's own, to be damaged."""
    path = tmp_path / "damaged.beton"
    path.write_bytes(written)
    return open_beton(path)


def _refusal(beton: Beton, sample: int, portable: bool, around: Sequence[int] = range(COUNT)) -> str:
    """What is said of the only bad sample among these."""
    _, bad = decode(beton, around, portable=portable)
    assert [one.row for one in bad] == [list(around).index(sample)]
    message = bad[0].message
    assert beton.manifest is not None
    assert message.startswith(f"{beton.path}: sample {sample} ({beton.manifest.ids[sample]}) can't be used: ")
    assert "\n" not in message and "write the file again" in message and "--data.corrupt=skip" in message
    return message


def _with(beton: Beton, field: str, sample: int, value: int) -> Beton:
    """The file with another entry in its table of images."""
    images = beton.images.copy()
    images[field][sample] = value
    return replace(beton, images=images)


def test_truncated_jpeg_is_named(damaged: Beton, portable: bool) -> None:
    beton = shorten(damaged, 3, len(record(damaged, 3)) // 2)
    assert "its JPEG data is damaged (Premature end of JPEG file)" in _refusal(beton, 3, portable)


@pytest.mark.parametrize("size", [1, 2, 3, 30, 150, 400])
def test_jpeg_cut_in_its_header_is_named(damaged: Beton, portable: bool, size: int) -> None:
    assert "its JPEG data is damaged (" in _refusal(shorten(damaged, 3, size), 3, portable)


def test_zeroed_header_is_named(damaged: Beton, portable: bool) -> None:
    overwrite(damaged, 0, bytes(16))
    assert "Not a JPEG file: starts with 0x00 0x00" in _refusal(damaged, 0, portable)


def test_damage_within_the_picture_is_named(damaged: Beton, portable: bool) -> None:
    overwrite(damaged, 5, b"\xff\xd9" * 20, offset=len(record(damaged, 5)) // 2)
    assert "its JPEG data is damaged (" in _refusal(damaged, 5, portable)


def test_damage_seen_in_a_crop_only_has_no_libjpeg_words(
    damaged: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = JpegFormat.decode_rows

    def fail_once(form: JpegFormat, batch: DecodeBatch, rows: np.ndarray, workspace: object) -> None:
        monkeypatch.setattr(JpegFormat, "decode_rows", real)
        batch.status[rows] = BAD_JPEG

    monkeypatch.setattr(JpegFormat, "decode_rows", fail_once)
    assert "its JPEG data is damaged; write" in _refusal(damaged, 2, False, around=[2])


def test_jpeg_of_another_size_is_named(damaged: Beton, portable: bool) -> None:
    other = io.BytesIO()
    Image.fromarray(photo(16, 80)).save(other, "JPEG", quality=30)
    assert len(other.getvalue()) <= len(record(damaged, 2))
    overwrite(damaged, 2, other.getvalue())
    assert "header and the file's table disagree" in _refusal(damaged, 2, portable)


@pytest.mark.parametrize(("field", "value"), [("width", 63), ("width", 65), ("height", 1), ("height", 200)])
def test_wrong_size_in_the_table_is_named(damaged: Beton, portable: bool, field: str, value: int) -> None:
    assert "disagree about the image's size" in _refusal(_with(damaged, field, 6, value), 6, portable)


def test_unknown_mode_is_named(damaged: Beton, portable: bool) -> None:
    assert "its storage mode is unknown" in _refusal(_with(damaged, "mode", 1, 9), 1, portable)


def test_bad_samples_are_named_in_batch_order(damaged: Beton, portable: bool) -> None:
    overwrite(damaged, 6, bytes(16))
    overwrite(damaged, 1, bytes(16))
    _, bad = decode(damaged, [0, 6, 2, 1, 6], portable=portable)
    assert [one.row for one in bad] == [1, 3, 4]
    assert ["sample 6 " in one.message for one in bad] == [True, False, True]


def test_bad_sample_leaves_the_others_unchanged(damaged: Beton, portable: bool) -> None:
    before, _ = decode(damaged, [0, 1, 2], portable=portable)
    overwrite(damaged, 1, bytes(16))
    pool = DecodePool(damaged, 1, "never", portable)
    out = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    try:
        assert [one.row for one in pool.decode(np.arange(3), WHOLE, out)] == [1]
        np.testing.assert_array_equal(out[[0, 2]], before[[0, 2]])
        # The decompressor has state: it must be clean again after an error.
        assert pool.decode(np.array([2, 0]), WHOLE, out[:2]) == []
        np.testing.assert_array_equal(out[:2], before[[2, 0]])
    finally:
        pool.close()


def test_bad_sample_without_manifest_is_named_by_number(damaged: Beton, portable: bool) -> None:
    overwrite(damaged, 4, bytes(16))
    _, bad = decode(replace(damaged, manifest=None), [4], portable=portable)
    assert "sample 4 can't be used" in bad[0].message


def test_random_damage_stays_within_its_sample(damaged: Beton, portable: bool) -> None:
    """Some of them decode, as those of a colour do; none may crash, hang or make another sample bad."""
    random = np.random.default_rng(0)
    good = damaged.path.read_bytes()
    start, size = int(damaged.images["data_ptr"][1]), len(record(damaged, 1))
    whole, part = (0, 0, SIDE, SIDE, 0), (17, 9, 32, 32, 0)
    named = 0
    rounds = 300
    with open(damaged.path, "r+b") as file:
        pool = DecodePool(damaged, 1, "never", portable)
        out = np.empty((3, SIDE, SIDE, 3), np.uint8)
        for number in range(rounds):
            data = np.frombuffer(good[start : start + size], np.uint8).copy()
            places = random.integers(2, size, random.integers(1, 5))
            data[places] = random.integers(0, 256, len(places))
            file.seek(start)
            file.write(data.tobytes())
            file.flush()
            bad = pool.decode(np.arange(3), fixed(*[part if number % 2 else whole] * 3), out)
            assert all(one.row == 1 for one in bad)
            named += len(bad)
        pool.close()
    assert named > rounds / 10
