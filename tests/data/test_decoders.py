"""Decoded pixels are Pillow's, crops and flips are exact, and a record that can't be decoded is always named."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.data import layout
from engine.data.beton import Beton, open_beton
from engine.data.crops import CenterCrop, CropLaw, RandomResizedCrop
from engine.data.decoders import pool as pool_module
from engine.data.decoders.pool import DecodePool
from engine.data.decoders.rgb_image import BAD_JPEG, decode_slice
from engine.errors import UserError
from tests.data.betons import fixed, overwrite, record, shorten, write_pixels
from tests.data.conftest import photo

SIDE = 64
WHOLE = CenterCrop(ratio=1.0)
COUNT = 8


def decode(
    beton: Beton, ids: list[int], law: CropLaw = WHOLE, side: int = SIDE, workers: int = 2
) -> NDArray[np.uint8]:
    """These samples, cropped by `law` and resized to `side`."""
    out = np.full((len(ids), side, side, 3), 77, np.uint8)
    pool = DecodePool(beton, workers)
    try:
        pool.decode(np.array(ids, np.int64), law, out)
    finally:
        pool.close()
    return out


@pytest.fixture(scope="module")
def squares() -> list[NDArray[np.uint8]]:
    """Square pictures, all different."""
    return [photo(SIDE, SIDE, seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def raw(squares: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """The squares, stored raw."""
    return open_beton(write_pixels(tmp_path_factory.mktemp("raw"), squares, "raw"))


@pytest.fixture(scope="module")
def jpeg(squares: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Beton:
    """The squares, stored as JPEG."""
    return open_beton(write_pixels(tmp_path_factory.mktemp("jpeg"), squares, "jpeg"))


@pytest.fixture
def damaged(squares: list[NDArray[np.uint8]], tmp_path: Path) -> Beton:
    """The squares, stored as JPEG in a file of this test's own."""
    return open_beton(write_pixels(tmp_path, squares, "jpeg"))


def _pillow(beton: Beton, sample: int) -> Image.Image:
    return Image.open(io.BytesIO(record(beton, sample))).convert("RGB")


# Pixels


def test_a_raw_image_comes_out_as_it_went_in(raw: Beton, squares: list[NDArray[np.uint8]]) -> None:
    np.testing.assert_array_equal(decode(raw, list(range(COUNT))), np.stack(squares))


def test_a_jpeg_is_decoded_as_pillow_decodes_it(jpeg: Beton) -> None:
    ours = decode(jpeg, list(range(COUNT))).astype(int)
    theirs = np.stack([np.asarray(_pillow(jpeg, sample)) for sample in range(COUNT)]).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - theirs).mean() < 0.1


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_averages_areas_as_pillows_box_does(raw: Beton, jpeg: Beton, factor: int) -> None:
    for beton in (raw, jpeg):
        whole = decode(beton, list(range(COUNT)))
        ours = decode(beton, list(range(COUNT)), side=SIDE // factor).astype(int)
        theirs = np.stack([np.asarray(Image.fromarray(pixels).reduce(factor)) for pixels in whole])
        assert np.abs(ours - theirs).max() <= 1


def test_a_crop_is_cut_where_its_box_says(raw: Beton, squares: list[NDArray[np.uint8]]) -> None:
    law = fixed((0, 0, 32, 32, 0), (32, 32, 32, 32, 0), (5, 17, 32, 32, 0), (31, 2, 32, 32, 0))
    cut = decode(raw, [0, 1, 2, 3], law, side=32)
    for sample, (top, left) in enumerate([(0, 0), (32, 32), (5, 17), (31, 2)]):
        np.testing.assert_array_equal(cut[sample], squares[sample][top : top + 32, left : left + 32])


def test_a_crop_of_a_jpeg_is_a_part_of_the_whole(jpeg: Beton) -> None:
    whole = decode(jpeg, [0, 1])
    cut = decode(jpeg, [0, 1], fixed((3, 21, 40, 40, 0), (24, 0, 40, 40, 0)), side=40)
    np.testing.assert_array_equal(cut[0], whole[0][3:43, 21:61])
    np.testing.assert_array_equal(cut[1], whole[1][24:64, 0:40])


@pytest.mark.parametrize("side", [64, 31, 1])
def test_a_flip_mirrors_exactly(raw: Beton, jpeg: Beton, side: int) -> None:
    boxes = [(2, 7, 50, 41), (0, 0, 64, 64), (10, 10, 1, 1), (63, 0, 1, 64)]
    for beton in (raw, jpeg):
        plain, flipped = (
            decode(beton, [0, 1, 2, 3], fixed(*((*box, flip) for box in boxes)), side) for flip in (0, 1)
        )
        np.testing.assert_array_equal(flipped, plain[:, :, ::-1])


def test_odd_shapes_grow_and_shrink(tmp_path: Path) -> None:
    shapes = [(1, 1), (1, 90), (90, 1), (2, 3), (33, 47), (120, 40)]
    flat = [np.full((*shape, 3), 20 * number + 10, np.uint8) for number, shape in enumerate(shapes)]
    for mode, tolerance in (("raw", 0), ("jpeg", 2)):
        beton = open_beton(write_pixels(tmp_path / mode, flat, mode))  # type: ignore[arg-type]
        for law in (WHOLE, RandomResizedCrop(seed=0, epoch=0)):
            out = decode(beton, list(range(len(shapes))), law, side=24).astype(int)
            for number in range(len(shapes)):
                assert np.abs(out[number] - (20 * number + 10)).max() <= tolerance


def test_modes_may_be_mixed_in_one_file(squares: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    beton = open_beton(write_pixels(tmp_path, squares * 4, "proportion"))
    assert set(beton.images["mode"]) == {layout.MODE_JPEG, layout.MODE_RAW}
    out = decode(beton, list(range(len(squares) * 4))).astype(int)
    wanted = np.stack(squares * 4)
    is_raw = beton.images["mode"] == layout.MODE_RAW
    np.testing.assert_array_equal(out[is_raw], wanted[is_raw])
    assert np.abs(out - wanted).mean() < 6


def test_threads_order_and_company_do_not_show(jpeg: Beton) -> None:
    law = RandomResizedCrop(seed=1, epoch=1)
    alone = np.concatenate([decode(jpeg, [sample], law, 40, workers=1) for sample in range(COUNT)])
    ids = [5, 0, 7, 7, 3, 1, 2, 6, 4]
    for workers in (1, 2, 5):
        np.testing.assert_array_equal(decode(jpeg, ids, law, 40, workers=workers), alone[ids])


def test_a_batch_of_none_is_fine(jpeg: Beton) -> None:
    assert decode(jpeg, []).shape == (0, SIDE, SIDE, 3)


# Damage


def _refusal(beton: Beton, sample: int, around: list[int] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        decode(beton, around if around is not None else list(range(COUNT)))
    message = str(caught.value)
    assert message.startswith(
        f"{beton.path}: sample {sample} ({beton.manifest and beton.manifest.ids[sample]})"
    )
    assert "\n" not in message and "write the file again" in message
    return message


def _with(beton: Beton, field: str, sample: int, value: int) -> Beton:
    """The file with another entry in its table of images."""
    images = beton.images.copy()
    images[field][sample] = value
    images.setflags(write=False)
    return replace(beton, images=images)


def test_a_truncated_jpeg_is_named(damaged: Beton) -> None:
    beton = shorten(damaged, 3, len(record(damaged, 3)) // 2)
    assert "its JPEG data is damaged (Premature end of JPEG file)" in _refusal(beton, 3)


def test_a_jpeg_cut_within_its_header_is_named(damaged: Beton) -> None:
    assert "its JPEG data is damaged (" in _refusal(shorten(damaged, 3, 30), 3)


def test_a_zeroed_header_is_named(damaged: Beton) -> None:
    overwrite(damaged, 0, bytes(16))
    assert "Not a JPEG file: starts with 0x00 0x00" in _refusal(damaged, 0)


def test_damage_within_the_picture_is_named(damaged: Beton) -> None:
    size = len(record(damaged, 5))
    overwrite(damaged, 5, b"\xff\xd9" * 20, offset=size // 2)
    assert "its JPEG data is damaged (" in _refusal(damaged, 5)


def test_another_images_jpeg_under_a_wrong_size_is_named(damaged: Beton) -> None:
    other = io.BytesIO()
    Image.fromarray(photo(16, 80)).save(other, "JPEG", quality=30)
    assert len(other.getvalue()) <= len(record(damaged, 2))
    overwrite(damaged, 2, other.getvalue())
    assert "header and the file's table disagree" in _refusal(damaged, 2)


@pytest.mark.parametrize(("field", "value"), [("width", 63), ("width", 65), ("height", 1), ("height", 200)])
def test_a_wrong_size_in_the_table_is_named(jpeg: Beton, field: str, value: int) -> None:
    assert "disagree about the image's size" in _refusal(_with(jpeg, field, 6, value), 6)


def test_an_unknown_mode_is_named(raw: Beton) -> None:
    assert "its storage mode is unknown" in _refusal(_with(raw, "mode", 1, 9), 1)


def test_the_first_bad_sample_of_the_batch_is_named_in_the_batchs_order(damaged: Beton) -> None:
    overwrite(damaged, 6, bytes(16))
    overwrite(damaged, 1, bytes(16))
    _refusal(damaged, 6, around=[0, 6, 2, 1])


def test_a_bad_sample_does_not_spoil_the_others(damaged: Beton) -> None:
    before = decode(damaged, [0, 1, 2])
    overwrite(damaged, 1, bytes(16))
    pool = DecodePool(damaged, 1)
    out = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    try:
        with pytest.raises(UserError, match="sample 1 "):
            pool.decode(np.arange(3), WHOLE, out)
        np.testing.assert_array_equal(out[[0, 2]], before[[0, 2]])
        # The decompressor has state: it must be clean again after an error.
        pool.decode(np.array([2, 0]), WHOLE, out[:2])
        np.testing.assert_array_equal(out[:2], before[[2, 0]])
    finally:
        pool.close()


def test_a_file_without_a_manifest_names_the_number_alone(damaged: Beton) -> None:
    overwrite(damaged, 4, bytes(16))
    with pytest.raises(UserError, match=r"sample 4 can't be used"):
        decode(replace(damaged, manifest=None), [4])


def test_damage_that_is_gone_when_asked_for_its_reason_ends_nothing(
    jpeg: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(*arguments: object) -> None:
        monkeypatch.setattr(pool_module, "decode_slice", decode_slice)
        status = arguments[-1]
        assert isinstance(status, np.ndarray)
        status[:] = BAD_JPEG

    monkeypatch.setattr(pool_module, "decode_slice", fail_once)
    with pytest.raises(UserError, match=r"sample 2 .* its JPEG data is damaged"):
        decode(jpeg, [2])


# What a caller must not get wrong


@pytest.mark.parametrize("ids", [[-1], [COUNT], [0, 1, COUNT + 5, 2], [2**40]])
def test_an_id_that_the_file_does_not_have_is_refused(raw: Beton, ids: list[int]) -> None:
    with pytest.raises(IndexError, match=rf"has samples 0 to {COUNT - 1}; asked for"):
        decode(raw, ids)


@pytest.mark.parametrize(
    "box",
    [
        (-1, 0, 8, 8, 0),
        (0, -1, 8, 8, 0),
        (60, 0, 8, 8, 0),
        (0, 60, 8, 8, 0),
        (0, 0, 0, 8, 0),
        (0, 0, 8, 0, 0),
    ],
)
def test_a_law_that_cuts_outside_the_image_is_refused(
    raw: Beton, box: tuple[int, int, int, int, int]
) -> None:
    with pytest.raises(ValueError, match="cuts outside the image"):
        decode(raw, [0], fixed(box))


def test_memory_of_the_wrong_shape_is_refused(raw: Beton) -> None:
    pool = DecodePool(raw, 1)
    try:
        wrong: list[NDArray[Any]] = [
            np.empty((3, 8, 8, 3), np.uint8),
            np.empty((2, 8, 8, 4), np.uint8),
            np.empty((2, 8, 8, 3), np.int16),
            np.empty((2, 8, 16, 3), np.uint8)[:, :, ::2],
        ]
        for out in wrong:
            with pytest.raises(ValueError, match="can't be decoded into"):
                pool.decode(np.arange(2), WHOLE, out)
    finally:
        pool.close()


def test_ids_of_another_type_or_layout_compile_nothing_anew(raw: Beton) -> None:
    expected = decode(raw, [0, 2, 4])
    known = len(decode_slice.signatures)
    others: list[NDArray[Any]] = [np.arange(6)[::2], np.array([0, 2, 4], np.int32), np.array([0, 2, 4], "u1")]
    for ids in others:
        pool, out = DecodePool(raw, 1), np.empty_like(expected)
        pool.decode(ids, WHOLE, out)
        pool.close()
        np.testing.assert_array_equal(out, expected)
    decode(raw, [0], RandomResizedCrop(seed=0, epoch=0), side=17)
    assert len(decode_slice.signatures) == known == 1


def test_an_error_is_raised_only_when_no_thread_writes_any_more(
    raw: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, done = threading.Event(), []

    def slice_or_fail(*arguments: object) -> None:
        start = arguments[5]
        if start == 0:
            failed.set()
            raise ZeroDivisionError
        failed.wait(10)
        time.sleep(0.02)
        done.append(start)

    monkeypatch.setattr(pool_module, "decode_slice", slice_or_fail)
    with pytest.raises(ZeroDivisionError):
        decode(raw, list(range(COUNT)), workers=2)
    assert len(done) == COUNT - 1


def test_closing_twice_is_fine_and_ends_the_threads(raw: Beton) -> None:
    before = threading.active_count()
    pool = DecodePool(raw, 3)
    pool.decode(np.arange(COUNT), WHOLE, np.empty((COUNT, 8, 8, 3), np.uint8))
    assert threading.active_count() > before
    pool.close()
    pool.close()
    assert threading.active_count() == before


# The compiled kernels on disk

_DECODE = """
import sys
import numpy as np
import numba.core.caching as caching
if len(sys.argv) > 2:
    for name in ("CacheImpl", "_CacheImpl"):
        if hasattr(caching, name):
            getattr(caching, name)._locator_classes = []
from engine.data.beton import open_beton
from engine.data.crops import RandomResizedCrop, _random_boxes
from engine.data.decoders.pool import DecodePool
from engine.data.decoders.rgb_image import decode_slice
pool, out = DecodePool(open_beton(sys.argv[1]), 1), np.empty((2, 8, 8, 3), np.uint8)
pool.decode(np.arange(2), RandomResizedCrop(seed=0, epoch=0), out)
for kernel in (decode_slice, _random_boxes):
    print(sum(kernel.stats.cache_hits.values()), kernel.stats.cache_path is not None)
print(int(out.sum()))
"""

Run = Callable[..., list[str]]


@pytest.fixture
def decode_in_a_process(jpeg: Beton, repository: Path, tmp_path: Path) -> Run:
    """Decode in a new process whose kernels are cached in a folder of this test's own; returns its lines."""

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _DECODE, str(jpeg.path), *arguments],
            cwd=repository,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.slow
def test_a_second_start_compiles_nothing(decode_in_a_process: Run) -> None:
    first, second = decode_in_a_process(), decode_in_a_process()
    assert first[:2] == ["0 True", "0 True"]
    assert second[:2] == ["1 True", "1 True"]
    assert first[2] == second[2]


@pytest.mark.slow
def test_a_machine_with_no_place_for_a_cache_compiles_at_each_start(decode_in_a_process: Run) -> None:
    lines = decode_in_a_process("no cache")
    assert lines[:2] == ["0 False", "0 False"] and int(lines[2]) > 0
