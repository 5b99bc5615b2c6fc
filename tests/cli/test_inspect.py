"""`python -m engine inspect` on files of ours, and what it says of a file that is not whole."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.cli.inspect import main
from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.edit.contact_sheet import draw_sheet
from engine.errors import UserError
from tests.data.betons import drop_checksums, drop_manifest, overwrite, write_pixels
from tests.data.conftest import Tree, photo, write_tree
from tests.shapes import CLASSES, write_betons


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_betons(tmp_path_factory.mktemp("inspect"), train=24, val=6)[0]


def test_inspect_summarises_a_file(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(train), "--no-sheet"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["images"].startswith("24 (")
    assert said["classes"] == "6; images in one: 4 to 4, median 4"
    assert said["names"] == ", ".join(CLASSES)
    assert "format=proportion" in said["settings"]
    assert said["source"] == "image folder, images in the order 'shuffled'"
    assert "cmyk=repair" in said["rules"] and "pillow=" in said["written"]
    assert said["rejects"] == "0 left out" and said["licence"] == "not recorded"


def test_truncated_file_is_refused(train: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.beton"
    cut.write_bytes(train.read_bytes())
    os.truncate(cut, cut.stat().st_size - 100)
    with pytest.raises(UserError, match=r"cut\.beton"):
        main([str(cut), "--no-sheet"])


def test_storage_and_checksums_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pixels(tmp_path, [np.zeros((20, 30, 3), np.uint8)] * 4, "yuv420")
    for checksums in ("one for each image", "none"):
        capsys.readouterr()
        assert main([str(path), "--no-sheet"]) == 0
        said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert said["images"] == "4 (4 YUV 4:2:0)"
        assert said["record"] == "900 to 900 bytes, median 900"
        assert said["checksums"] == checksums
        drop_checksums(path)


def test_odd_images_and_class_sizes_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images: dict[str, NDArray[np.uint8] | bytes] = {
        name: photo(20, 20, seed) for seed, name in enumerate(("1.jpg", "2.jpg", "3.jpg"))
    }
    damaged = {f"bad{number:02d}.jpg": b"" for number in range(12)}
    few = {"1.jpg": photo(20, 20, 9)}
    tree: Tree = {"train": {"many": images | damaged, "few": few}, "val": {"many": images, "few": few}}
    source = SourceConfig(path=str(write_tree(tmp_path / "source", tree)))
    output = OutputConfig(folder=str(tmp_path), num_workers=1, license="only for research")
    path = convert(WriteConfig(source=source, output=output, rules=RulesConfig(empty="skip")))["train"]
    capsys.readouterr()
    assert main([str(path), "--no-sheet"]) == 0
    said = capsys.readouterr().out
    for line in (
        "smallest     few (1), many (3)",
        "largest      many (3), few (1)",
        "rejects      12 left out",
        "licence      only for research",
    ):
        assert line in said.splitlines()
    assert "empty=12" in said
    assert said.count("/bad") == 10 and "... and 2 more" in said
    assert main([str(path), "--no-sheet", "--rejects"]) == 0
    assert capsys.readouterr().out.count("/bad") == 12


def test_sheet_shows_images_by_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    red, blue = (np.full((40, 20, 3), colour, np.uint8) for colour in ((250, 0, 0), (0, 0, 250)))
    path = write_pixels(tmp_path, [red] * 3 + [blue] * 3)
    monkeypatch.chdir(tmp_path)
    assert main([str(path)]) == 0
    assert "train.beton.sheet.png: 6 random images by class" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "train.beton.sheet.png"))
    # Sorted by class: three reds in the first row, three blues in the second; each keeps its shape.
    is_red, is_blue = ((sheet == colour).all(axis=2) for colour in ([250, 0, 0], [0, 0, 250]))
    assert is_red.sum() == is_blue.sum() == 3 * 80 * 160
    assert np.flatnonzero(is_red.any(axis=1)).max() < np.flatnonzero(is_blue.any(axis=1)).min()
    again = tmp_path / "again.png"
    assert main([str(path), "--sheet", str(again)]) == 0
    assert again.read_bytes() == (tmp_path / "train.beton.sheet.png").read_bytes()


def test_seed_selects_the_images_of_the_sheet(train: Path) -> None:
    beton = open_beton(train)
    pictures = [np.asarray(draw_sheet(beton, 4, seed)) for seed in (0, 0, 1)]
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()
    assert draw_sheet(beton, 1000, 0).size == draw_sheet(beton, 24, 0).size


def test_sheet_marks_a_damaged_image_and_needs_no_class_names(tmp_path: Path) -> None:
    path = write_pixels(tmp_path, [photo(20, 20, seed) for seed in range(4)], "jpeg")
    good = np.asarray(draw_sheet(open_beton(path), 4, 0))
    overwrite(open_beton(path), 2, b"no JPEG")
    damaged = np.asarray(draw_sheet(open_beton(path), 4, 0))
    assert ((damaged == [192, 0, 0]).all(axis=2)).any() and not ((good == [192, 0, 0]).all(axis=2)).any()
    drop_checksums(path)
    drop_manifest(path)
    assert draw_sheet(open_beton(path), 4, 0).size == (good.shape[1], good.shape[0])


def test_invalid_sheet_options_are_refused_first(train: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (["--sheet", str(train)], "give it a name that ends in .png"),
        (["--samples", "0"], "not a whole number from 1 to 1000"),
        (["--seed", "-1"], "must be at least 0"),
    ):
        before = train.read_bytes()
        with pytest.raises(UserError, match=words):
            main([str(train), *arguments])
        assert train.read_bytes() == before
    with pytest.raises(UserError, match="cannot write"):
        main([str(train), "--sheet", str(tmp_path / "none" / "x.png")])
