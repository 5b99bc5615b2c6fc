"""Whatever records a .beton is made of, it gives back: any sizes, modes and counts, also pages that are just full."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.beton import layout
from engine.data.beton.checksum import crc32
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, open_beton
from engine.data.beton.writer import BetonWriter, image_fields
from engine.data.storage import JPEG, RAW, YUV420
from engine.data.storage.formats import of_mode
from engine.errors import UserError

PAGE = layout.MIN_PAGE_SIZE
MODES = {"jpeg": JPEG.mode, "raw": RAW.mode, "yuv420": YUV420.mode}

# A page, a half and a quarter of one to the last byte, and one byte beside it.
_JPEG_SIZES = st.one_of(
    st.integers(1, 5000), st.sampled_from([PAGE, PAGE - 1, PAGE // 2, PAGE // 2 + 1, PAGE // 4])
)
_SIDES = st.one_of(st.integers(1, 40), st.sampled_from([511, 512]))


@st.composite
def records(draw: st.DrawFn) -> list[tuple[int, int, int, int, int]]:
    """Up to 20 records of one file: (mode, width, height, bytes, label)."""
    mixtures = [("jpeg",), ("raw",), ("yuv420",), ("jpeg", "raw")]
    mixture = draw(st.sampled_from(mixtures))
    found = []
    for _ in range(draw(st.integers(1, 20))):
        mode = MODES[draw(st.sampled_from(mixture))]
        width, height = draw(_SIDES), draw(_SIDES)
        if mode == YUV420.mode:
            width, height = width + width % 2, height + height % 2
        size = {RAW.mode: 3 * width * height, YUV420.mode: width * height * 3 // 2}.get(mode)
        found.append((mode, width, height, size or draw(_JPEG_SIZES), draw(st.integers(0, 4))))
    return found


def _write(path: Path, rows: list[tuple[int, int, int, int, int]], interrupted_at: int) -> list[bytes]:
    """Write these in pieces, going on with a new writer after some; the records."""
    fields = image_fields(of_mode(rows[0][0]))
    random = np.random.default_rng(len(rows))
    payload = [random.bytes(size) for *_, size, _ in rows]
    images = np.array([(mode, width, height, 0) for mode, width, height, *_ in rows], layout.IMAGE)
    labels = np.array([label for *_, label in rows], np.int64)
    sizes, checksums = [len(record) for record in payload], [crc32(record) for record in payload]
    ids = tuple(str(number) for number in range(len(rows)))
    manifest = Manifest(split="train", classes=tuple("abcde"), ids=ids, source="a test")
    with open(path, "w+b") as file:
        writer = BetonWriter(file, fields, PAGE, len(rows) + 3)
        borders = sorted({0, interrupted_at, len(rows) // 2, len(rows)})
        for begin, behind in itertools.pairwise(borders):
            here = slice(begin, behind)
            if begin == interrupted_at:
                again = BetonWriter(file, fields, PAGE, len(rows) + 3)
                done = slice(0, begin)
                again.resume(images[done], labels[done], sizes[done], checksums[done])
                assert again.offset == writer.offset
                file.truncate(again.offset)
                writer = again
            writer.append(images[here], labels[here], sizes[here], checksums[here], b"".join(payload[here]))
        writer.finish(manifest)
    return payload


def _records(beton: Beton) -> list[bytes]:
    memory = beton.memory()
    pairs = zip(beton.images["data_ptr"].tolist(), beton.sizes.tolist(), strict=True)
    return [memory[start : start + size].tobytes() for start, size in pairs]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=records(), share=st.floats(0, 1))
def test_written_records_are_read_back(
    tmp_path: Path, rows: list[tuple[int, int, int, int, int]], share: float
) -> None:
    path = tmp_path / "x.beton"
    payload = _write(path, rows, int(share * len(rows)))
    beton = open_beton(path)
    assert _records(beton) == payload
    for place, name in enumerate(("mode", "width", "height")):
        assert beton.images[name].tolist() == [row[place] for row in rows]
    assert beton.labels.tolist() == [row[-1] for row in rows]
    assert beton.checksums is not None
    assert beton.checksums.tolist() == [crc32(record) for record in payload]
    pages = beton.images["data_ptr"] // PAGE, (beton.images["data_ptr"] + beton.sizes - 1) // PAGE
    np.testing.assert_array_equal(*pages)


def test_full_pages_follow_each_other(tmp_path: Path) -> None:
    sizes = [PAGE, PAGE // 2, PAGE // 2, PAGE - 1, 1, 1]
    rows = [(JPEG.mode, 9, 9, size, 0) for size in sizes]
    payload = _write(tmp_path / "x.beton", rows, 3)
    beton = open_beton(tmp_path / "x.beton")
    assert (beton.images["data_ptr"] - PAGE).tolist() == [
        0,
        PAGE,
        PAGE + PAGE // 2,
        2 * PAGE,
        3 * PAGE - 1,
        3 * PAGE,
    ]
    assert _records(beton) == payload


def test_file_without_images_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    with open(path, "w+b") as file:
        BetonWriter(file, image_fields(RAW), PAGE, 5).finish(None)
    with pytest.raises(UserError, match=r"x\.beton .*(cut short|no images)"):
        open_beton(path)
