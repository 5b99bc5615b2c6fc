"""A pool decodes as its records say, whatever its threads do, and refuses what a caller must not ask."""

import io
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.decode.jpeg_whole import decode_whole
from engine.data.decode.portable_resize import decode_raw
from engine.data.decode.workspace import Workspace
from engine.data.loading.decode_pool import DecodePool
from engine.data.sampling.crops import RandomResizedCrop
from engine.data.storage import RAW
from engine.data.storage.formats import PROPORTION, all_formats
from engine.data.storage.raw import RawFormat
from tests.data.betons import fixed, record, write_pixels
from tests.data.decode.pooling import COUNT, SIDE, WHOLE, pixels, squares

STORAGES: tuple[Storage, ...] = (*(form.name for form in all_formats()), PROPORTION)
Files = dict[Storage, Beton]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The squares, four times over, in each way to store them."""
    folder = tmp_path_factory.mktemp("squares")
    return {
        storage: open_beton(write_pixels(folder / storage, squares() * 4, storage)) for storage in STORAGES
    }


def test_raw_image_comes_out_unchanged(files: Files, portable: bool) -> None:
    out = pixels(files["raw"], range(COUNT), portable=portable)
    np.testing.assert_array_equal(out, np.stack(squares()))


def test_mixed_modes_are_decoded(files: Files, portable: bool) -> None:
    beton = files["proportion"]
    is_raw = beton.images["mode"] == RAW.mode
    assert 0 < is_raw.sum() < len(is_raw)
    out = pixels(beton, range(4 * COUNT), portable=portable)
    wanted = np.stack(squares() * 4)
    np.testing.assert_array_equal(out[is_raw], wanted[is_raw])
    assert np.abs(out.astype(int) - wanted).mean() < 6


def test_crop_is_cut_at_its_box(files: Files, portable: bool) -> None:
    places = [(0, 0), (32, 32), (5, 17), (31, 2)]
    law = fixed(*((top, left, 32, 32, 0) for top, left in places))
    out = pixels(files["raw"], range(4), law, 32, portable=portable)
    for sample, (top, left) in enumerate(places):
        np.testing.assert_array_equal(out[sample], squares()[sample][top : top + 32, left : left + 32])


@pytest.mark.parametrize("storage", STORAGES)
def test_pixels_are_the_same_for_any_threads_and_order(
    files: Files, storage: Storage, portable: bool
) -> None:
    law = RandomResizedCrop(seed=1, epoch=1)
    beton = files[storage]
    alone = np.concatenate([pixels(beton, [i], law, 40, workers=1, portable=portable) for i in range(COUNT)])
    ids = [5, 0, 7, 7, 3, 1, 2, 6, 4]
    for workers in (1, 2, 5):
        np.testing.assert_array_equal(
            pixels(beton, ids, law, 40, workers=workers, portable=portable), alone[ids]
        )


@pytest.mark.parametrize("storage", STORAGES)
def test_c_and_numba_agree_through_a_pool(files: Files, storage: Storage) -> None:
    law = RandomResizedCrop(seed=2, epoch=0)
    ids = range(4 * COUNT)
    in_c, in_numba = (pixels(files[storage], ids, law, 48, portable=portable) for portable in (False, True))
    np.testing.assert_array_equal(in_c, in_numba)


def test_one_pool_serves_any_resolution_and_batch(files: Files, portable: bool) -> None:
    beton = files["jpeg"]
    pool = DecodePool(beton, 2, portable=portable)
    try:
        for count, side in [(1, 224), (COUNT, 16), (3, 100), (COUNT, 16)]:
            out = np.empty((count, side, side, 3), np.uint8)
            assert pool.decode(np.arange(count), WHOLE, out) == []
            np.testing.assert_array_equal(out, pixels(beton, range(count), side=side, portable=portable))
    finally:
        pool.close()


def test_empty_batch_is_decoded(files: Files, portable: bool) -> None:
    assert pixels(files["jpeg"], [], portable=portable).shape == (0, SIDE, SIDE, 3)


# What a caller must not get wrong


@pytest.mark.parametrize("ids", [[-1], [4 * COUNT], [0, 1, 4 * COUNT + 5, 2], [2**40]])
def test_id_beyond_the_file_is_refused(files: Files, ids: list[int]) -> None:
    with pytest.raises(IndexError, match=rf"has samples 0 to {4 * COUNT - 1}; asked for"):
        pixels(files["raw"], ids)


@pytest.mark.parametrize(
    "box",
    [
        *[(-1, 0, 8, 8, 0), (0, -1, 8, 8, 0), (60, 0, 8, 8, 0), (0, 60, 8, 8, 0)],
        *[(0, 0, 0, 8, 0), (0, 0, 8, 0, 0), (0, 0, SIDE + 1, 8, 0), (2**31 - 4, 0, 8, 8, 0)],
    ],
)
def test_crop_outside_the_image_is_refused(files: Files, box: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="cuts outside the image"):
        pixels(files["raw"], [0], fixed(box))


def test_output_of_the_wrong_shape_is_refused(files: Files) -> None:
    pool = DecodePool(files["raw"], 1)
    try:
        wrong: list[NDArray[Any]] = [
            np.empty((3, 8, 8, 3), np.uint8),
            np.empty((2, 8, 8, 4), np.uint8),
            np.empty((2, 8, 9, 3), np.uint8),
            np.empty((2, 9, 8, 3), np.uint8),
            np.empty(2, np.uint8),
            np.empty((2, 8, 8, 3), np.int16),
            np.empty((2, 8, 16, 3), np.uint8)[:, :, ::2],
        ]
        for out in wrong:
            with pytest.raises(ValueError, match="can't be decoded into"):
                pool.decode(np.arange(2), WHOLE, out)
    finally:
        pool.close()


def test_other_id_types_cause_no_recompilation(files: Files) -> None:
    expected = {name: pixels(files[name], [0, 2, 4], portable=True) for name in STORAGES}
    known = [len(kernel.signatures) for kernel in (decode_whole, decode_raw)]
    others: list[NDArray[Any]] = [np.arange(6)[::2], np.array([0, 2, 4], np.int32), np.array([0, 2, 4], "u1")]
    for name in STORAGES:
        pool, out = DecodePool(files[name], 1, portable=True), np.empty_like(expected[name])
        for ids in others:
            assert pool.decode(ids, WHOLE, out) == []
            np.testing.assert_array_equal(out, expected[name])
        pool.decode(np.arange(3), RandomResizedCrop(seed=0, epoch=0), np.empty((3, 17, 17, 3), np.uint8))
        pool.close()
    assert [len(kernel.signatures) for kernel in (decode_whole, decode_raw)] == known == [1, 1]


# Threads


def test_error_is_raised_after_all_threads_stopped(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    done: list[int] = []

    def decode_or_fail(form: object, batch: object, rows: NDArray[np.int64], workspace: Workspace) -> None:
        if rows[0] == 0:
            failed.set()
            raise ZeroDivisionError
        failed.wait(10)
        time.sleep(0.02)
        done.extend(rows)

    monkeypatch.setattr(RawFormat, "decode_rows", decode_or_fail)
    with pytest.raises(ZeroDivisionError):
        pixels(files["raw"], range(COUNT), workers=2)
    assert sorted(done) == list(range(1, COUNT))


def test_closing_twice_ends_the_threads(files: Files, portable: bool) -> None:
    before = threading.active_count()
    pool = DecodePool(files["raw"], 3, portable=portable)
    pool.decode(np.arange(COUNT), WHOLE, np.empty((COUNT, 8, 8, 3), np.uint8))
    assert threading.active_count() > before
    pool.close()
    pool.close()
    assert threading.active_count() == before


def test_closed_pools_leave_no_descriptor(files: Files, tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    pixels(files["raw"], [0])
    before = descriptors()
    # More than the maps that can be guarded at one time, too.
    for _ in range(100):
        pixels(files["raw"], [0], side=8)
    assert descriptors() <= before


def test_validation_decodes_jpeg_at_full_scale(files: Files, portable: bool) -> None:
    # A quarter of the size: training lets the DCT do the shrinking.
    boxes = fixed(*[(0, 0, SIDE, SIDE, 0)] * COUNT)
    beton, ids = files["jpeg"], range(COUNT)
    measured = pixels(beton, ids, WHOLE, SIDE // 4, portable=portable).astype(int)
    trained = pixels(beton, ids, boxes, SIDE // 4, portable=portable).astype(int)
    whole = [Image.open(io.BytesIO(record(beton, sample))).convert("RGB") for sample in ids]
    size = (SIDE // 4, SIDE // 4)
    wanted = np.stack([np.asarray(image.resize(size, Image.Resampling.BILINEAR)) for image in whole])
    assert np.abs(measured - wanted).max() <= 1
    assert np.abs(trained - wanted).max() > 1


@pytest.mark.parametrize("workers", [1, 3])
def test_empty_batch_is_packed(files: Files, workers: int) -> None:
    with closing(DecodePool(files["raw"], workers)) as pool:
        geometry, bad = pool.pack(np.empty(0, np.int64), WHOLE, lambda size: np.empty(size, np.uint8))
    assert geometry.shape == (0, 8) and bad == []
