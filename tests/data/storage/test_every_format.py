"""What holds of each registered storage format, and of one registered from outside: nothing here names a format.

A new one is tested by being registered in engine/data/storage/__init__.py.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.reader import Beton, open_beton
from engine.data.decode.batch import OK
from engine.data.loading.decode_pool import DecodePool
from engine.data.native.library import library
from engine.data.sampling.crops import CenterCrop
from engine.data.storage import formats
from engine.data.storage.storage_format import EncodeSettings, StorageFormat
from engine.errors import UserError
from tests.data.betons import drop_checksums, record, shorten, write_pixels
from tests.data.conftest import ROOT, photo
from tests.data.decode.decoding import Record, decode_boxes, difference, random_boxes
from tests.data.storage.registered import GRAY_MODULE, NAMES, gray_registered

SETTINGS = EncodeSettings(max_resolution=60, short_side=0, jpeg_quality=95, max_bytes=2**24)
SIZES = [(40, 60), (41, 59), (130, 90), (1, 7), (2, 2), (61, 300)]


@pytest.fixture(params=NAMES)
def form(request: pytest.FixtureRequest) -> Iterator[StorageFormat]:
    """Each format."""
    with gray_registered():
        yield formats.named(request.param)[0]


def fixed_size(form: StorageFormat) -> bool:
    """Whether the bytes of its records follow from the sides."""
    return form.record_bytes(np.array([4]), np.array([4])) is not None


@pytest.mark.parametrize("size", SIZES)
def test_fit_gives_the_stored_size(form: StorageFormat, size: tuple[int, int]) -> None:
    height, width = size
    fitted = form.fit(photo(height, width), SETTINGS)
    assert fitted.shape[1::-1] == form.stored_size(width, height, SETTINGS)
    assert max(fitted.shape) <= 60


@pytest.mark.parametrize("size", SIZES)
def test_wrong_record_sizes_are_detected(form: StorageFormat, size: tuple[int, int]) -> None:
    fitted = form.fit(photo(*size), SETTINGS)
    data = form.encode(fitted, SETTINGS)
    height, width = (np.array([side]) for side in fitted.shape[:2])
    assert not form.wrong_sizes(height, width, np.array([len(data)]))[0]
    if fixed_size(form):
        for wrong in (len(data) - 1, len(data) + 1, 0, -len(data), len(data) * 2):
            assert form.wrong_sizes(height, width, np.array([wrong]))[0]


@pytest.mark.parametrize("size", SIZES)
def test_decoded_pixels_are_near_the_stored_ones(form: StorageFormat, size: tuple[int, int]) -> None:
    # Grey keeps in any format.
    fitted = form.fit(photo(*size)[:, :, :1].repeat(3, 2), SETTINGS)
    data = form.encode(fitted, SETTINGS)
    again = form.pixels(data, *fitted.shape[:2])
    assert again.shape == fitted.shape and again.dtype == np.uint8
    assert difference(again, fitted)[1] < 3


def test_pixels_of_a_cut_record_are_refused(form: StorageFormat) -> None:
    data = form.encode(photo(40, 60), SETTINGS)
    with pytest.raises(ValueError, match=r"\w"):
        form.pixels(data[: len(data) // 2], 40, 60)


def test_decoders_agree_with_each_other_and_with_pixels(form: StorageFormat) -> None:
    stored = Record(form.encode(photo(48, 48), SETTINGS), form.mode, 48, 48)
    for resolution in (48, 17):
        boxes = random_boxes(48, 48, 6)
        (in_c, c_status), (in_numba, numba_status) = (
            decode_boxes(stored, boxes, resolution, native) for native in (library(), None)
        )
        assert (c_status == OK).all() and (numba_status == OK).all()
        np.testing.assert_array_equal(in_c, in_numba)
    (whole,), _ = decode_boxes(stored, (0, 0, 48, 48, 0), 48, library())
    assert difference(whole, form.pixels(stored.data, 48, 48))[1] < 4


# --- records cut short


def test_cut_record_is_refused_without_reading_past_its_end(form: StorageFormat) -> None:
    command = [sys.executable, "-m", "tests.data.storage.cut_records", form.name, GRAY_MODULE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    # A read past the record is a segmentation fault, -11.
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(":") for line in done.stdout.splitlines()]
    assert len(lines) == 5 * (5 if form.packing is not None else 4)
    for cut, _, *statuses in lines:
        assert len(statuses) == 2 and (set(statuses) == {"0"}) == (cut == "0"), lines
        assert cut == "0" or not {"0", "99"} & set(statuses), lines


@pytest.fixture
def beton(form: StorageFormat, tmp_path: Path) -> Beton:
    """Four images of the format, without checksums, which would see each change."""
    path = write_pixels(tmp_path, [photo(20, 30, seed) for seed in range(4)], form.name)
    drop_checksums(path)
    return open_beton(path)


def test_file_with_a_cut_record_is_refused_with_its_index(form: StorageFormat, beton: Beton) -> None:
    if not fixed_size(form):
        pytest.skip("records of this format may be of any size: its decoder finds what is missing")
    with pytest.raises(UserError) as caught:
        shorten(beton, 2, len(record(beton, 2)) - 1)
    assert f"sample 2 is {form.title}, but its bytes are not {form.record_words}" in str(caught.value)


@pytest.mark.parametrize("way", ["C", "numba", "packed"])
def test_cut_record_is_a_corrupt_sample_with_its_index(form: StorageFormat, beton: Beton, way: str) -> None:
    if way == "packed" and form.packing is None:
        pytest.skip("crops of this format are not packed")
    sizes = beton.sizes.copy()
    sizes[2] //= 2
    cut = replace(beton, sizes=sizes)
    with closing(DecodePool(cut, 2, portable=way == "numba")) as pool:
        if way == "packed":
            _, bad = pool.pack(np.arange(4), CenterCrop(ratio=1), lambda size: np.empty(size, np.uint8))
        else:
            bad = pool.decode(np.arange(4), CenterCrop(ratio=1), np.empty((4, 16, 16, 3), np.uint8))
    (only,) = bad
    assert only.row == 2 and "sample 2 (b/0002.png) can't be used: its " in only.message
    if fixed_size(form):
        assert f"its record is not of {form.record_words} bytes" in only.message
