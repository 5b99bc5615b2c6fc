"""The packed buffer holds exactly the bytes of each crop, whoever copies them, and the kernels load from disk."""

import itertools
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.data.beton import layout
from engine.data.sampling.crops import RandomResizedCrop
from engine.data.storage import JPEG, RAW, YUV420
from engine.data.storage.formats import of_mode
from engine.data.storage.packing import (
    COLUMNS,
    FLIP,
    HEIGHT,
    LEFT,
    OFFSET,
    ROWS,
    TOP,
    WIDTH,
    copy_crops,
    plan_crops,
)
from engine.errors import UserError

SIZES = [(2, 2), (2, 34), (50, 2), (96, 64), (64, 96), (128, 130)]
COUNT = 200

Memory = tuple[NDArray[np.uint8], NDArray[np.void]]


def stored(mode: int) -> Memory:
    """Images of random bytes with gaps between them, as the file's memory and its record table."""
    random = np.random.default_rng(mode)
    images = np.zeros(len(SIZES), layout.IMAGE)
    end = 0
    for image, (height, width) in zip(images, SIZES, strict=True):
        size = height * width * 3 if mode == RAW.mode else height * width * 3 // 2
        image["mode"], image["height"], image["width"], image["data_ptr"] = mode, height, width, end + 5
        end += 5 + size
    return random.integers(0, 256, end, np.uint8), images


def record_sizes(images: NDArray[np.void]) -> NDArray[np.int64]:
    """Bytes of each record."""
    sizes = of_mode(int(images["mode"][0])).record_bytes(
        *(images[s].astype(np.int64) for s in ("height", "width"))
    )
    assert sizes is not None
    return sizes


def boxes_of(images: NDArray[np.void], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Random crops, and for the first samples the whole image and one pixel in the last corner."""
    heights, widths = images["height"][ids], images["width"][ids]
    law = RandomResizedCrop(seed=3, epoch=1, min_scale=0.01)
    boxes = law.boxes(np.arange(len(ids)), heights, widths)
    boxes[:6] = [(0, 0, h, w, 0) for h, w in zip(heights[:6], widths[:6], strict=True)]
    boxes[6:12] = [(h - 1, w - 1, 1, 1, 1) for h, w in zip(heights[6:12], widths[6:12], strict=True)]
    return boxes


def packed(memory: Memory, mode: int, threads: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A batch of every image in turn: buffer (untouched bytes are 77) and geometry."""
    data, images = memory
    ids = np.arange(COUNT) % len(SIZES)
    boxes = boxes_of(images, ids)
    geometry, size = plan_crops(boxes, mode)
    buffer = np.full(size, 77, np.uint8)
    status = np.zeros(COUNT, np.uint8)
    edges = np.linspace(0, COUNT, threads * 3 + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        arguments = (data, images, record_sizes(images), ids, boxes, geometry, mode)
        slices = [
            pool.submit(copy_crops, *arguments, int(start), int(stop), buffer, status)
            for start, stop in itertools.pairwise(edges)
        ]
    for part in slices:
        part.result()
    assert not status.any()
    return buffer, geometry


def planes(memory: Memory, sample: int) -> list[NDArray[np.uint8]]:
    """The planes of a stored image, as 2-d arrays; a raw image is one plane of width x 3."""
    data, images = memory
    image = images[sample]
    height, width, start = int(image["height"]), int(image["width"]), int(image["data_ptr"])
    if image["mode"] == RAW.mode:
        return [data[start : start + height * width * 3].reshape(height, width * 3)]
    found = []
    for h, w in ((height, width), (height // 2, width // 2), (height // 2, width // 2)):
        found.append(data[start : start + h * w].reshape(h, w))
        start += h * w
    return found


def expected(memory: Memory, sample: int, box: NDArray[np.int32], odd: int) -> bytes:
    """The bytes of a crop, cut out with slices."""
    top, left, height, width, _ = (int(value) for value in box)
    bottom, right = (top + height + odd) & ~odd, (left + width + odd) & ~odd
    top, left = top & ~odd, left & ~odd
    if not odd:
        return planes(memory, sample)[0][top:bottom, 3 * left : 3 * right].tobytes()
    luma, blue, red = planes(memory, sample)
    half = (slice(top // 2, bottom // 2), slice(left // 2, right // 2))
    return luma[top:bottom, left:right].tobytes() + blue[half].tobytes() + red[half].tobytes()


@pytest.mark.parametrize("mode", [YUV420.mode, RAW.mode])
def test_crop_is_packed_byte_for_byte_and_gaps_stay(mode: int) -> None:
    memory = stored(mode)
    buffer, geometry = packed(memory, mode)
    ids = np.arange(COUNT) % len(SIZES)
    boxes = boxes_of(memory[1], ids)
    untouched = np.ones(len(buffer), bool)
    odd = int(mode == YUV420.mode)
    for sample, box, plan in zip(ids, boxes, geometry, strict=True):
        wanted = expected(memory, int(sample), box, odd)
        place = slice(int(plan[OFFSET]), int(plan[OFFSET]) + len(wanted))
        assert buffer[place].tobytes() == wanted
        assert untouched[place].all(), "two samples share bytes"
        untouched[place] = False
    assert (buffer[untouched] == 77).all()


@pytest.mark.parametrize("mode", [YUV420.mode, RAW.mode])
def test_plan_describes_the_crop_inside_its_region(mode: int) -> None:
    _, images = stored(mode)
    ids = np.arange(COUNT) % len(SIZES)
    boxes = boxes_of(images, ids)
    geometry, size = plan_crops(boxes, mode)
    assert (geometry[:, [HEIGHT, WIDTH, FLIP]] == boxes[:, [2, 3, 4]]).all()
    assert (geometry[:, OFFSET] % 16 == 0).all()
    assert size % 16 == 0
    assert (geometry[:, TOP] + geometry[:, HEIGHT] <= geometry[:, ROWS]).all()
    assert (geometry[:, LEFT] + geometry[:, WIDTH] <= geometry[:, COLUMNS]).all()
    if mode == RAW.mode:
        assert (geometry[:, [TOP, LEFT]] == 0).all()
        assert (geometry[:, [ROWS, COLUMNS]] == boxes[:, [2, 3]]).all()
    else:
        assert (geometry[:, [TOP, LEFT]] == boxes[:, [0, 1]] % 2).all()
        assert (geometry[:, [ROWS, COLUMNS]] % 2 == 0).all()
        assert (geometry[:, [ROWS, COLUMNS]] <= boxes[:, [2, 3]] + 2).all()


@pytest.mark.parametrize("mode", [YUV420.mode, RAW.mode])
def test_packing_is_the_same_for_any_thread_count(mode: int) -> None:
    memory = stored(mode)
    alone, _ = packed(memory, mode)
    for threads in (2, 4):
        together, _ = packed(memory, mode, threads)
        assert (alone == together).all()


def test_empty_batch_needs_no_bytes() -> None:
    geometry, size = plan_crops(np.empty((0, 5), np.int32), YUV420.mode)
    assert geometry.shape == (0, 8)
    assert size == 0


def test_offsets_pass_four_gib() -> None:
    boxes = np.tile(np.array([[0, 0, 20000, 30000, 0]], np.int32), (4, 1))
    geometry, size = plan_crops(boxes, RAW.mode)
    assert geometry[:, OFFSET].tolist() == [0, 1_800_000_000, 3_600_000_000, 5_400_000_000]
    assert size == 7_200_000_000


def test_crop_beyond_32_bit_offsets_is_refused() -> None:
    with pytest.raises(UserError, match="a crop of 800,000,000 pixels is too large to be packed"):
        plan_crops(np.array([[0, 0, 20000, 40000, 0]], np.int32), RAW.mode)


def test_jpeg_records_are_refused() -> None:
    with pytest.raises(ValueError, match="storage mode 0"):
        plan_crops(np.zeros((1, 5), np.int32), JPEG.mode)


COPY_ONCE = """
import sys, numpy as np
from engine.data.beton import layout
from engine.data.storage import YUV420, packing
from engine.data.storage.packing import copy_crops, plan_crops
boxes = np.array([[1, 1, 3, 3, 0]], np.int32)
geometry, size = plan_crops(boxes, YUV420.mode)
image = np.array([(YUV420.mode, 8, 8, 0)], layout.IMAGE)
image.setflags(write=False)
memory, buffer = np.arange(96, dtype=np.uint8), np.zeros(size, np.uint8)
memory.setflags(write=False)
sizes, status = np.array([96]), np.zeros(1, np.uint8)
copy_crops(memory, image, sizes, np.zeros(1, np.int64), boxes, geometry, YUV420.mode, 0, 1, buffer, status)
assert not status.any()
assert buffer[0] == 0 and buffer[5] == 9 and buffer[16] == 64, buffer
print(sum(packing._copy.stats.cache_hits.values()), "torch" in sys.modules, "ffcv" in sys.modules)
"""


def test_second_process_loads_kernels_from_cache(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "engine", tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for hits in (0, 1):
        run = subprocess.run(
            [sys.executable, "-c", COPY_ONCE],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.split() == [str(hits), "False", "False"]
