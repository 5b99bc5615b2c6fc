"""The files that a .beton was made of: found by id, whatever its order, and prepared as torchvision prepares them."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from engine.config.write import OutputConfig, RulesConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import Beton, open_beton
from engine.data.convert.conversion import convert
from engine.data.sampling.crops import resized_side
from engine.data.sources import Source
from engine.data.sources.originals import MEAN, STD, Originals, match, normalised, open_source
from engine.errors import UserError
from tests.data.conftest import photo, write_tree


def _beton(source: Path, folder: Path, *, rules: dict[str, Any] | None = None, **output: object) -> Beton:
    settings = OutputConfig(folder=str(folder), num_workers=1, **output)  # type: ignore[arg-type]
    config = WriteConfig(
        source=SourceConfig(path=str(source)), output=settings, rules=RulesConfig(**(rules or {}))
    )
    return open_beton(convert(config)["val"])


def _source(path: Path, beton: Beton, folder: str = "") -> Source:
    return open_source(str(path), folder, "", beton)


def test_images_equal_torchvisions_pipeline(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    assert beton.manifest and list(beton.manifest.ids) != sorted(beton.manifest.ids), "shuffled"
    steps = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(56), transforms.PILToTensor()])
    theirs = ImageFolder(pets / "val", transform=steps)
    number = {
        Path(path).relative_to(pets / "val").as_posix(): row for row, (path, _) in enumerate(theirs.samples)
    }
    with Originals(beton, open_source(str(pets), "", "", beton), "pets", workers=2) as originals:
        samples = np.arange(beton.num_samples)
        images = originals.images(samples, 56, 56 / 64)
    for sample in samples:
        image, label = theirs[number[beton.manifest.ids[sample]]]
        assert torch.equal(images[sample], image), beton.manifest.ids[sample]
        assert label == beton.labels[sample]


def test_normalising_equals_torchvisions() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 2, 1)
    picture = Image.fromarray(levels.permute(1, 2, 0).numpy())
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    assert torch.equal(normalised(levels[None], torch.float32)[0], steps(picture))
    levels = levels[None]
    assert normalised(levels, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("resolution", "ratio", "side"),
    [(224, 224 / 256, 256), (256, 224 / 256, 293), (32, 1.0, 32), (288, 0.95, 303)],
)
def test_short_side_is_crop_size_over_ratio(resolution: int, ratio: float, side: int) -> None:
    assert resized_side(resolution, ratio) == side


def test_rejected_images_are_counted(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        split: {
            name: {"a.jpg": photo(40, 50, seed), "b.jpg": photo(44, 40, seed + 9), "empty.jpg": b""}
            for seed, name in enumerate(("cat", "dog"))
        }
        for split in ("train", "val")
    }
    folder = write_tree(tmp_path / "tree", tree)
    beton = _beton(folder, tmp_path / "out", rules={"empty": "skip"}, subset=3)
    matched = match(beton, _source(folder, beton), "the folder")
    assert beton.manifest
    rejected = len(beton.manifest.rejects)
    assert (len(matched.numbers), matched.rejected, matched.others) == (3 - rejected, rejected, 3)


def test_labels_are_compared_by_name_not_by_number(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    (pets / "val" / "bird").mkdir()
    Image.fromarray(photo(20, 20)).save(pets / "val" / "bird" / "new.jpg")
    matched = match(beton, _source(pets, beton), "pets")
    assert matched.others == 1
    source = _source(pets, beton)
    swapped = type(source)(**{**vars(source), "classes": ["bird", "dog", "cat"]})
    with pytest.raises(UserError, match=r"is of class '(cat|dog)' in .* and of '(cat|dog)' in pets: convert"):
        match(beton, swapped, "pets")


def test_other_data_set_is_refused(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    (pets / "val" / "cat" / "001.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 of the 7 images of .*val\.beton are not in pets, such as cat/001\.jpg"
    ):
        match(beton, _source(pets, beton), "pets")


def test_errors_name_options_of_section_validation(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    with pytest.raises(UserError, match=r"^validation\.reference .* does not exist"):
        _source(tmp_path / "nowhere", beton)
    (pets / "val").rename(pets / "held")
    with pytest.raises(UserError, match=r"pass --validation\.reference_folder=NAME"):
        _source(pets, beton)
    assert len(_source(pets, beton, "held")) == 7


def test_file_without_image_names_is_refused(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    nameless = type(beton)(**{**vars(beton), "manifest": None})
    with pytest.raises(UserError, match="does not say which images it was made of"):
        _source(pets, nameless)


def test_image_unreadable_by_pillow_is_named(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    (pets / "val" / "dog" / "002.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with (
        Originals(beton, _source(pets, beton), "pets", workers=1) as originals,
        pytest.raises(UserError, match=r"dog/002\.jpg can't be read by Pillow"),
    ):
        originals.images(np.arange(7), 16, 1.0)


def test_huge_file_is_refused_unread(pets: Path, tmp_path: Path) -> None:
    beton = _beton(pets, tmp_path / "out")
    # More than any machine's memory.
    os.truncate(pets / "val/dog/002.jpg", 2**42)
    with (
        Originals(beton, _source(pets, beton), "pets", workers=1) as originals,
        pytest.raises(UserError, match=r"dog/002\.jpg: it has 4\.4 TB, more than rules\.max_megabytes=500"),
    ):
        originals.images(np.arange(7), 16, 1.0)


@pytest.mark.parametrize(("rule", "shape"), [("apply", (30, 20)), ("ignore", (20, 30))])
def test_images_are_turned_as_in_the_conversion(rule: str, shape: tuple[int, int], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    # Left half dark, right half bright; turned a quarter: upper half dark.
    picture = np.repeat(np.repeat(np.array([[20, 230]], np.uint8), 15, 1), 20, 0)
    Image.fromarray(np.repeat(picture[:, :, None], 3, 2)).save(turned, "JPEG", exif=exif, quality=95)
    tree = {split: {"cat": {"a.jpg": turned.getvalue()}} for split in ("train", "val")}
    folder = write_tree(tmp_path / "tree", tree)
    beton = _beton(folder, tmp_path / "out", rules={"exif": rule})
    assert (int(beton.images["height"][0]), int(beton.images["width"][0])) == shape
    with Originals(beton, _source(folder, beton), "tree", workers=1) as originals:
        image = originals.images(np.arange(1), 16, 1.0)[0, 0].float()
    across, down = image[:, 8:].mean() - image[:, :8].mean(), image[8:].mean() - image[:8].mean()
    assert (abs(float(across)) > 100) == (rule == "ignore")
    assert (abs(float(down)) > 100) == (rule == "apply")


def test_source_read_with_other_options_is_found_again(tmp_path: Path) -> None:
    """Other image types, and a val that lacks a class: as the conversion was asked to read them."""
    write_tree(
        tmp_path / "pets",
        {
            "train": {"cat": {"a.jpg": photo(40, 50, 1)}, "dog": {"a.jpg": photo(40, 50, 2)}},
            "val": {"cat": {"a.jpg": photo(40, 50, 3), "b.tif": photo(40, 50, 4)}},
        },
    )
    source = SourceConfig(path=str(tmp_path / "pets"), extensions=".tif", val_classes="train")
    output = OutputConfig(folder=str(tmp_path / "out"), num_workers=1)
    beton = open_beton(convert(WriteConfig(source=source, output=output))["val"])
    matched = match(beton, _source(tmp_path / "pets", beton), "pets")
    assert (len(matched.numbers), matched.others) == (2, 0)


def test_parquet_of_other_columns_is_found_again(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for split in ("train", "val"):
        pictures = [_png(photo(40, 50, number)) for number in range(4)]
        columns = {"scan": pictures, "preview": pictures[::-1], "what": [0, 1, 0, 1]}
        (tmp_path / "set").mkdir(exist_ok=True)
        parquet.write_table(pyarrow.table(columns), tmp_path / f"set/{split}-00000-of-00001.parquet")
    source = SourceConfig(path=str(tmp_path / "set"), image_column="scan", label_column="what")
    output = OutputConfig(folder=str(tmp_path / "out"), num_workers=1)
    beton = open_beton(convert(WriteConfig(source=source, output=output))["val"])
    assert len(match(beton, _source(tmp_path / "set", beton), "set").numbers) == 4


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
