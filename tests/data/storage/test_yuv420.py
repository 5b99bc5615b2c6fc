"""YUV 4:2:0 files: sizes, planes as exact as rounding allows, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton import layout
from engine.data.beton.reader import open_beton
from engine.data.convert.record import RecordSettings, make_record
from engine.data.storage import JPEG, RAW, YUV420
from engine.data.storage.yuv420 import encode_yuv420, even_size, fit
from engine.errors import UserError
from tests.data.betons import drop_checksums, record, write_pixels
from tests.data.conftest import Run, photo

_MATRIX = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.299 / 1.772, -0.587 / 1.772, 0.886 / 1.772],
        [0.701 / 1.402, -0.587 / 1.402, -0.114 / 1.402],
    ]
)


def _reference(pixels: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Y, Cb and Cr as JFIF defines them, unrounded, chroma as 2 x 2 means."""
    height, width = pixels.shape[:2]
    y, *chroma = np.moveaxis(pixels.astype(np.float64) @ _MATRIX.T + [0, 128, 128], 2, 0)
    means = [plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3)).clip(0, 255) for plane in chroma]
    return [y, *means]


def _planes(data: bytes, width: int, height: int) -> list[NDArray[np.float64]]:
    """Y, Cb and Cr of a record."""
    assert len(data) == width * height * 3 // 2
    values = np.frombuffer(data, np.uint8).astype(np.float64)
    y, cb, cr = np.split(values, [width * height, width * height * 5 // 4])
    half = (height // 2, width // 2)
    return [y.reshape(height, width), cb.reshape(half), cr.reshape(half)]


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _cube() -> NDArray[np.uint8]:
    """Every corner, edge and many inner points of the RGB cube, each as a 2 x 2 block."""
    levels = np.array([0, 1, 2, 31, 64, 127, 128, 129, 200, 253, 254, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 144, 3)
    return colours.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize(
    "pixels", [_noise(512, 512), photo(256, 342), _cube()], ids=["noise", "photo", "cube"]
)
def test_planes_equal_jfif_rounded_once(pixels: NDArray[np.uint8]) -> None:
    height, width = pixels.shape[:2]
    found = _planes(encode_yuv420(pixels), width, height)
    for plane, expected in zip(found, _reference(pixels), strict=True):
        error = plane - expected
        assert np.abs(error).max() < 0.53
        assert abs(error.mean()) < 0.03


def test_grey_stays_grey_and_has_the_full_range() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)[:, :, None].repeat(3, 2)
    y, cb, cr = _planes(encode_yuv420(grey), 16, 16)
    np.testing.assert_array_equal(y.ravel(), np.arange(256))
    assert (cb == 128).all() and (cr == 128).all()


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((500, 375), (256, 500), (342, 256)),  # 341.33: the nearest even number, 342, not 340
        ((375, 500), (256, 500), (256, 342)),
        ((300, 256), (256, 500), (300, 256)),
        ((257, 2000), (256, 500), (256, 1992)),
        ((255, 301), (256, 500), (256, 302)),
        ((255, 301), (255, 500), (254, 300)),
        ((1, 1), (256, 500), (2, 2)),
        ((5000, 3), (256, 500), (5000, 4)),
        ((4000, 3000), (512, 500), (682, 512)),
        ((500, 375), (0, 500), (500, 376)),
        ((1000, 3), (0, 500), (500, 2)),
        ((1000, 750), (0, 500), (500, 376)),  # 375: as near to 374, halves go up
        ((1001, 751), (0, 0), (1002, 752)),
    ],
)
def test_even_size_gives_known_sizes(
    size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert even_size(*size, *limits) == expected


def test_even_size_keeps_limit_and_shape() -> None:
    random = np.random.default_rng(0)
    for width, height, limit in random.integers([1, 1, 2], [3000, 3000, 513], (3000, 3)).tolist():
        for limits, measure in (((limit, 0), min), ((0, limit), max)):
            new = even_size(width, height, *limits)
            assert new[0] % 2 == new[1] % 2 == 0
            assert measure(new) <= limit
            assert new[0] <= width + width % 2 and new[1] <= height + height % 2
            scale = min(1.0, limit // 2 * 2 / measure(width, height))
            assert abs(new[0] - width * scale) <= 1 or new[0] == 2
            assert abs(new[1] - height * scale) <= 1 or new[1] == 2


def test_odd_side_repeats_its_last_row_or_column() -> None:
    pixels = _noise(7, 5)
    fitted = fit(pixels, 256, 0)
    assert fitted.shape == (8, 6, 3)
    np.testing.assert_array_equal(fitted[:7, :5], pixels)
    np.testing.assert_array_equal(fitted[7], fitted[6])
    np.testing.assert_array_equal(fitted[:, 5], fitted[:, 4])


def test_shrinking_averages_areas() -> None:
    pixels = _noise(40, 60)
    expected = pixels.reshape(20, 2, 30, 2, 3).mean((1, 3))
    fitted = fit(pixels, 20, 0)
    assert fitted.shape == (20, 30, 3)
    assert np.abs(fitted - expected).max() <= 0.5


def test_file_holds_the_planes(tmp_path: Path) -> None:
    pictures = [photo(40, 61, 1), photo(200, 90, 2), photo(64, 64, 3), _noise(2, 3)]
    beton = open_beton(write_pixels(tmp_path, pictures, "yuv420", short_side=48))
    assert beton.storage == "yuv420"
    assert set(beton.images["mode"]) == {YUV420.mode}
    assert beton.manifest is not None
    assert beton.manifest.counts == {"samples": 4, "jpeg": 0, "raw": 0, "yuv420": 4}
    assert beton.manifest.settings["short_side"] == 48
    sizes = [(62, 40), (48, 106), (48, 48), (4, 2)]
    assert beton.images[["width", "height"]].tolist() == sizes
    for sample, (width, height) in enumerate(sizes):
        data = record(beton, sample)
        assert data == encode_yuv420(fit(pictures[sample], 48, 0))
        for found, expected in zip(
            _planes(data, width, height), _reference(fit(pictures[sample], 48, 0)), strict=True
        ):
            assert np.abs(found - expected).max() < 0.53


def test_longer_side_is_limited_without_short_side() -> None:
    settings = RecordSettings(max_resolution=30, short_side=0, jpeg_quality=90, max_bytes=2**21)
    outcome = make_record(_noise(40, 60), "", YUV420.mode, settings)
    assert (outcome.mode, outcome.width, outcome.height) == (YUV420.mode, 30, 20)


@pytest.mark.parametrize(
    ("size", "max_bytes", "words"),
    [
        ((10, 65535), 2**21, "65536 x 10 pixels, more than the format's 65535 a side"),
        ((40, 40), 2399, "2400 bytes"),
    ],
)
def test_too_large_image_is_refused_with_remedy(size: tuple[int, int], max_bytes: int, words: str) -> None:
    settings = RecordSettings(max_resolution=500, short_side=256, jpeg_quality=90, max_bytes=max_bytes)
    with pytest.raises(UserError) as caught:
        make_record(np.zeros((*size, 3), np.uint8), "", YUV420.mode, settings)
    assert words in str(caught.value)
    assert "--output.short_side=0 --output.max_resolution" in str(caught.value)


def test_limit_without_effect_is_refused() -> None:
    def config(**output: object) -> None:
        WriteConfig(source=SourceConfig(path="x"), output=OutputConfig(folder="y", **output))  # type: ignore[arg-type]

    config(format="yuv420", short_side=0, max_resolution=300)
    config(format="yuv420", short_side=512)
    with pytest.raises(UserError, match=r"output\.short_side is for format yuv420"):
        config(format="jpeg", short_side=300)
    with pytest.raises(UserError, match=r"only if output\.short_side is 0"):
        config(format="yuv420", max_resolution=300)
    with pytest.raises(UserError, match="at most 512"):
        config(format="yuv420", short_side=513)


# --- what is refused


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A good file of four images, without checksums that would see each change."""
    path = write_pixels(tmp_path, [photo(20, 30, seed) for seed in range(4)], "yuv420")
    drop_checksums(path)
    return path


def _refused(path: Path, words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_beton(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def _field(path: Path) -> NDArray[np.void]:
    return np.memmap(path, layout.FIELD, "r+", layout.HEADER.itemsize, (1,))


def _images(path: Path) -> NDArray[np.void]:
    sample = layout.sample_dtype([layout.CUSTOM_FIELD, layout.INT_FIELD])
    start = layout.HEADER.itemsize + 2 * layout.FIELD.itemsize
    return np.memmap(path, sample, "r+", start, (4,))["f0"]


def test_foreign_custom_field_is_refused(damaged: Path) -> None:
    _field(damaged)["arguments"][0, 0] ^= 1
    _refused(damaged, "a custom field of another program")


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_other_version_of_the_field_is_refused(damaged: Path, version: int) -> None:
    record = _field(damaged)["arguments"][0, : layout.CUSTOM_ARGUMENTS.itemsize].view(layout.CUSTOM_ARGUMENTS)
    assert record.tolist() == [(YUV420.magic, 1, 256, 500)]
    record["version"] = version
    _refused(damaged, f"YUV 4:2:0 images of version {version}")


@pytest.mark.parametrize("mode", [JPEG.mode, RAW.mode, 3])
def test_mode_of_another_field_is_refused(damaged: Path, mode: int) -> None:
    _images(damaged)["mode"][2] = mode
    _refused(damaged, "sample 2 has an unknown storage mode")


def test_yuv420_in_an_rgb_field_is_refused(damaged: Path) -> None:
    _field(damaged)["type_id"] = layout.RGB_IMAGE_FIELD
    _refused(damaged, "sample 0 has an unknown storage mode (and 3 more like it)")


def test_impossible_sizes_are_refused(damaged: Path) -> None:
    images = _images(damaged)
    assert images[["width", "height"]].tolist() == [(30, 20)] * 4
    images["width"][1] = 32
    _refused(damaged, "sample 1 is YUV 4:2:0, but its bytes are not width x height x 3/2")
    # As many bytes in all, but no planes of half its sides.
    images["width"][1], images["height"][1] = 25, 24
    _refused(damaged, "sample 1 is YUV 4:2:0 with an odd side")
    images["width"][1], images["height"][1] = 24, 25
    _refused(damaged, "sample 1 is YUV 4:2:0 with an odd side")
    images["width"][1], images["height"][1] = 60, 10
    open_beton(damaged)


# --- as a user writes it


def test_write_dataset_makes_equal_files_for_any_workers(
    write_dataset: Run, pets: Path, tmp_path: Path
) -> None:
    files = []
    for workers in (1, 2):
        done = write_dataset(
            f"source.path={pets}", "output.folder=out", "output.format=yuv420", "output.short_side=32",
            f"output.num_workers={workers}", "output.overwrite=true",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "train.beton: 40 images (40 YUV 4:2:0), 2 classes" in done.stdout
        files.append((tmp_path / "out/train.beton").read_bytes())
    assert files[0] == files[1]
    beton = open_beton(tmp_path / "out/train.beton")
    assert np.minimum(beton.images["width"], beton.images["height"]).max() == 32
