"""`python -m engine extract`: an image comes back as it went in."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.cli.extract import main
from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.edit.extract import extract, pixels_of
from engine.errors import UserError
from tests.data.betons import overwrite, record, write_pixels
from tests.data.conftest import photo

PICTURES = [photo(40, 60, 1), photo(33, 70, 2), photo(1, 1, 3)]


def beton_of(folder: Path, mode: Storage) -> Beton:
    return open_beton(write_pixels(folder, PICTURES, mode))


def number_of(beton: Beton, picture: int) -> int:
    """The sample of a picture: the file is shuffled."""
    assert beton.manifest is not None
    return [int(Path(name).stem) for name in beton.manifest.ids].index(picture)


def test_jpeg_is_extracted_byte_for_byte(tmp_path: Path) -> None:
    beton = beton_of(tmp_path, "jpeg")
    for sample in range(3):
        image = extract(beton, sample)
        assert (image.content, image.suffix, image.sound) == (record(beton, sample), ".jpg", True)


def test_raw_image_is_extracted_as_png(tmp_path: Path) -> None:
    beton = beton_of(tmp_path, "raw")
    for picture, pixels in enumerate(PICTURES):
        image = extract(beton, number_of(beton, picture))
        assert image.suffix == ".png"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.content))), pixels)


def test_yuv420_image_is_converted_by_jfif_formula(tmp_path: Path) -> None:
    beton = beton_of(tmp_path, "yuv420")
    sample = number_of(beton, 0)
    data = record(beton, sample)
    y = np.frombuffer(data[:2400], np.uint8).reshape(40, 60).astype(float)
    cb, cr = (
        np.kron(plane, np.ones((2, 2))) - 128.0
        for plane in np.frombuffer(data[2400:], np.uint8).reshape(2, 20, 30)
    )
    exact = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    found = pixels_of(beton, sample, data)
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.51
    # Colour of half the size, in a smooth picture with noise of 8 levels.
    assert np.abs(found.astype(int) - PICTURES[0]).mean() < 6
    png = Image.open(io.BytesIO(extract(beton, sample).content))
    np.testing.assert_array_equal(np.asarray(png), found)
    assert pixels_of(beton, number_of(beton, 2), record(beton, number_of(beton, 2))).shape == (2, 2, 3)


def test_command_prints_name_label_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beton = beton_of(tmp_path, "jpeg")
    sample = number_of(beton, 1)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert main([str(beton.path), str(sample)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"image {sample}: a/0001.png, label 0 (a), 70 x 33\n")
    assert [path.name for path in folder.iterdir()] == [f"train-{sample}.jpg"]
    assert main([str(beton.path), str(sample), "--output", "x.jpeg"]) == 0
    assert (folder / "x.jpeg").read_bytes() == record(beton, sample)


def test_invalid_arguments_are_refused_in_one_line(tmp_path: Path) -> None:
    beton = beton_of(tmp_path, "raw")
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    for arguments, words in (
        (["3"], "has images 0 to 2: there is no 3"),
        (["-1"], "there is no -1"),
        (["0", "--output", str(there)], "already exists"),
        (["0", "--output", str(tmp_path / "x.jpg")], r"is written as \.png"),
        (["0", "--output", str(tmp_path / "none/x.png")], "does not exist"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            main([str(beton.path), *arguments])
        assert "\n" not in str(caught.value)
    assert there.read_bytes() == b"mine"


def test_damaged_record_is_extracted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beton = beton_of(tmp_path, "jpeg")
    overwrite(beton, 0, b"damage")
    output = tmp_path / "x.jpg"
    assert main([str(beton.path), "0", "--output", str(output)]) == 1
    assert f"BAD {beton.path}: image 0 has changed since it was written" in capsys.readouterr().out
    assert output.read_bytes() == record(beton, 0)
