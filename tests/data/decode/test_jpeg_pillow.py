"""JPEGs without the C library and without ffcv: the pixels of the other decoders, and what is said of damage."""

import io
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from engine.data.decode.batch import BAD_JPEG, OK, WRONG_SIZE
from engine.data.decode.pillow_pixels import DamagedError
from engine.data.storage import jpeg, jpeg_transcode
from engine.data.storage.jpeg_header import read_jpeg_header
from tests.data.conftest import photo
from tests.data.decode.decoding import SUBSAMPLINGS, Record, decode_boxes, jpeg_record, random_boxes


@pytest.fixture
def without_ffcv(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def hide() -> None:
        for module in (jpeg, jpeg_transcode):
            monkeypatch.setattr(module, "ffcv_library", lambda: None)
        monkeypatch.setattr(jpeg_transcode, "library", lambda: None)
        monkeypatch.setitem(sys.modules, "engine.data.decode.libffcv", None)

    return hide


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("resolution", [8, 24, 61])
def test_pillow_gives_pixels_of_turbojpeg(
    without_ffcv: Callable[[], None], resolution: int, exact: bool
) -> None:
    records = [jpeg_record(photo(150, 203), subsampling) for subsampling in SUBSAMPLINGS]
    records += [jpeg_record(photo(150, 203), progressive=True), jpeg_record(photo(97, 64)[:, :, 0])]
    boxes = [random_boxes(record.height, record.width, 12) for record in records]
    pairs = list(zip(records, boxes, strict=True))
    theirs = [decode_boxes(record, of, resolution, None, exact=exact)[0] for record, of in pairs]
    without_ffcv()
    for (record, of), expected in zip(pairs, theirs, strict=True):
        pixels, status = decode_boxes(record, of, resolution, None, exact=exact)
        assert (status == OK).all()
        np.testing.assert_array_equal(pixels, expected)


def test_damage_that_pillow_sees_is_reported(without_ffcv: Callable[[], None]) -> None:
    without_ffcv()
    whole = jpeg_record(photo(80, 60))
    boxes = random_boxes(80, 60, 2)
    for data, expected in (
        (whole.data, OK),
        (whole.data[: len(whole.data) // 2], BAD_JPEG),
        (whole.data[:40], BAD_JPEG),
        (bytes(len(whole.data)), BAD_JPEG),
        (jpeg_record(photo(80, 61)).data, WRONG_SIZE),
    ):
        _, status = decode_boxes(Record(data, whole.mode, 80, 60), boxes, 24, None)
        assert (status == expected).all()


def test_conversion_refuses_jpeg_cut_short(without_ffcv: Callable[[], None]) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo(80, 60)).save(stream, "JPEG", quality=90)
    content = stream.getvalue()
    header = read_jpeg_header(content)
    without_ffcv()
    kept = jpeg_transcode.keep(content, header, 1 << 20)
    assert kept is not None and Image.open(io.BytesIO(kept)).size == (60, 80)
    with pytest.raises(DamagedError, match="truncated"):
        jpeg_transcode.keep(content[: len(content) // 2], header, 1 << 20)
