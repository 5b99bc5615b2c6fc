"""A format registered from outside the engine goes all the way: converted, verified, extracted, shown, trained on."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.cli.extract import main as extract_main
from engine.cli.inspect import main as inspect_main
from engine.cli.verify import main as verify_main
from engine.config.load import load_write_config
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.edit.contact_sheet import draw_sheet
from engine.data.edit.extract import extract
from engine.errors import UserError
from tests.data.betons import drop_checksums, overwrite
from tests.data.conftest import write_tree
from tests.data.storage.registered import gray_registered
from tests.train.conftest import TINY, log_of, train_here

SIZES = [(32, 40), (33, 31), (48, 36)]


@pytest.fixture(autouse=True)
def gray() -> Iterator[None]:
    """The format is known during each of these tests."""
    with gray_registered():
        yield


def picture(level: int, seed: int) -> NDArray[np.uint8]:
    """Noise about one level of brightness."""
    noise = np.random.default_rng(seed).integers(-20, 21, (*SIZES[seed % 3], 3))
    return (noise + level).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.beton and val.beton of dark and light images, made by two worker processes."""
    path = tmp_path_factory.mktemp("gray")
    classes = {"dark": 60, "light": 190}
    write_tree(
        path / "source",
        {
            split: {
                name: {f"{seed:02d}.png": png(picture(level, seed)) for seed in range(count)}
                for name, level in classes.items()
            }
            for split, count in (("train", 24), ("val", 6))
        },
    )
    options = {"source.path": path / "source", "output.folder": path, "output.num_workers": 2}
    options |= {"output.format": "gray", "output.order": "source"}
    with gray_registered():
        convert(load_write_config([f"--{name}={value}" for name, value in options.items()]))
    return path


@pytest.fixture
def path(folder: Path, tmp_path: Path) -> Path:
    """train.beton in a copy of the test's own."""
    return Path(shutil.copy(folder / "train.beton", tmp_path))


def test_conversion_stores_luma_and_counts_it(path: Path) -> None:
    beton = open_beton(path)
    assert (beton.storage, beton.num_samples) == ("gray", 48)
    assert beton.manifest is not None
    assert beton.manifest.counts == {"samples": 48, "jpeg": 0, "raw": 0, "yuv420": 0, "gray": 48}
    expected = np.rint(picture(60, 4) @ np.array([0.299, 0.587, 0.114]))
    found = np.asarray(Image.open(io.BytesIO(extract(beton, 4).content)))
    np.testing.assert_array_equal(found, expected[:, :, None].repeat(3, 2))


def test_verify_names_a_changed_record(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_main([str(path)]) == 0
    overwrite(open_beton(path), 7, b"\0\1\2")
    assert verify_main([str(path)]) == 1
    assert "sample 7 (dark/07.png)" in capsys.readouterr().out


def test_verify_without_checksums_counts_records_as_unchecked(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drop_checksums(path)
    assert verify_main([str(path)]) == 0
    assert "48 images without checksum that decoding can't check" in capsys.readouterr().out


def test_inspect_and_extract_accept_the_format(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, output = path.parent / "sheet.png", path.parent / "image.png"
    assert inspect_main([str(path), "--sheet", str(sheet)]) == 0
    assert "48 (48 gray)" in capsys.readouterr().out
    assert extract_main([str(path), "3", "--output", str(output)]) == 0
    assert Image.open(io.BytesIO(output.read_bytes())).size == (40, 32)


def test_contact_sheet_shows_pixels(path: Path) -> None:
    drawn = np.asarray(draw_sheet(open_beton(path), 4, seed=0).convert("RGB")).reshape(-1, 3)
    gray = (drawn == drawn[:, :1]).all(1) & (drawn[:, 0] > 40) & (drawn[:, 0] < 80)
    assert gray.sum() > 1000, "dark images lie on the sheet"


def test_training_on_the_format_learns(folder: Path, tmp_path: Path) -> None:
    files = {f"data.{split}_dataset": folder / f"{split}.beton" for split in ("train", "val")}
    options = {**TINY, **files, "logging.folder": tmp_path / "runs", "training.batch_size": 12}
    code, run = train_here([f"--{name}={value}" for name, value in options.items()])
    (result,) = log_of(run, "result")
    assert code == 0 and result["top1"] > 0.9, "two classes by brightness"


def test_packed_decoder_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    files = {f"data.{split}_dataset": folder / f"{split}.beton" for split in ("train", "val")}
    options = {**TINY, **files, "logging.folder": tmp_path / "runs", "data.decoder": "packed"}
    with pytest.raises(UserError, match=r"stores gray images, which can't be packed: use data\.decoder=auto"):
        train_here([f"--{name}={value}" for name, value in options.items()])
