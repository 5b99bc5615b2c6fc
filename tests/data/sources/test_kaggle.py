"""Kaggle's tree is read from wherever in it the path points to."""

import os
import shutil
from pathlib import Path

import pytest

from engine.data.sources import Split
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import (
    contents,
    flatten_val,
    folder_contents,
    open_source,
    refused,
    same_as_folder,
    solution,
)


@pytest.fixture
def unzipped(animals: Path, tmp_path: Path) -> Path:
    """The folder into which Kaggle's archive was unzipped."""
    images = tmp_path / "ILSVRC/Data/CLS-LOC"
    shutil.copytree(animals / "train", images / "train")
    flat = flatten_val(animals / "val")
    for folder in ("val", "test"):
        (images / folder).mkdir()
    for name, content, _ in flat:
        (images / "val" / name).write_bytes(content)
    (images / "test/ILSVRC2012_test_00000001.JPEG").write_bytes(b"")
    (tmp_path / "LOC_val_solution.csv").write_text(solution(flat), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("below", [".", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_path_may_point_anywhere_into_the_tree(unzipped: Path, animals: Path, below: str) -> None:
    path = unzipped / below
    same_as_folder(open_source(path), open_source(animals))
    val = open_source(path, "val")
    assert val.classes == list(CLASSES)
    assert contents(val) == folder_contents(animals / "val")


def test_relative_path_is_accepted(unzipped: Path, animals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unzipped / "ILSVRC/Data/CLS-LOC")
    assert contents(open_source(os.curdir, "val")) == folder_contents(animals / "val")


def test_val_sorted_into_class_folders_is_read(unzipped: Path, animals: Path) -> None:
    val = unzipped / "ILSVRC/Data/CLS-LOC/val"
    shutil.rmtree(val)
    shutil.copytree(animals / "val", val)
    same_as_folder(open_source(unzipped, "val"), open_source(animals, "val"))
    message = refused(unzipped, "val", val_labels=str(unzipped / "LOC_val_solution.csv"))
    assert message == "source.val_labels: val has class folders: drop the option"


def test_val_without_its_list_needs_val_labels(unzipped: Path, animals: Path) -> None:
    moved = (unzipped / "LOC_val_solution.csv").rename(unzipped / "moved.csv")
    assert "has no class folders, and no list of its images' classes" in refused(unzipped, "val")
    source = open_source(unzipped, "val", val_labels=str(moved))
    assert contents(source) == folder_contents(animals / "val")


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_missing_by_kaggles_list_are_refused(unzipped: Path, split: Split) -> None:
    lists = unzipped / "ILSVRC/ImageSets/CLS-LOC"
    lists.mkdir(parents=True)
    images = unzipped / "ILSVRC/Data/CLS-LOC" / split
    files = sorted(path.relative_to(images).with_suffix("") for path in images.rglob("*.JPEG"))
    listed = lists / ("train_cls.txt" if split == "train" else "val.txt")
    listed.write_text("".join(f"{name} {number}\n" for number, name in enumerate(files, 1)), encoding="utf-8")
    assert len(open_source(unzipped, split)) == len(files)
    (images / files[1]).with_suffix(".JPEG").unlink()
    said = f"{listed} lists 1 images that are not there, such as {files[1]}: unzip again, or pass "
    assert refused(unzipped, split) == f"{said}--source.check_counts=false to convert what is there"
    assert len(open_source(unzipped, split, check_counts=False)) == len(files) - 1
