"""The official tars as downloaded give what the unpacked folders give, or one line that says what is wrong."""

import pickle
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton.reader import open_beton
from engine.errors import UserError
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import (
    contents,
    flatten_val,
    folder_contents,
    open_source,
    packed,
    refused,
    same_as_folder,
    write_devkit,
    write_tar,
    write_train_tar,
)

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12"


def write_official(folder: Path, train: Path, val: Path) -> Path:
    """The three downloads, made of class folders; the devkit as .tar.gz."""
    folder.mkdir()
    write_train_tar(folder / TRAIN, train)
    flat = flatten_val(val)
    write_tar(folder / VAL, [(name, content) for name, content, _ in reversed(flat)])
    write_devkit(folder / DEVKIT, sorted(one.name for one in train.iterdir()), [kind for _, _, kind in flat])
    shutil.make_archive(str(folder / DEVKIT), "gztar", folder, DEVKIT)
    shutil.rmtree(folder / DEVKIT)
    return folder


@pytest.fixture
def official(animals: Path, tmp_path: Path) -> Path:
    return write_official(tmp_path / "official", animals / "train", animals / "val")


def test_cifar10_in_official_tars_has_the_folders_labels(cifar10: Path, tmp_path: Path) -> None:
    folder = write_official(tmp_path / "official", cifar10 / "train", cifar10 / "test")
    train, val = open_source(folder), open_source(folder, "val")
    same_as_folder(train, open_source(cifar10))
    assert train.kind == val.kind == "ILSVRC2012 tar"
    assert (len(train), len(val)) == (600, 200)
    of_folders = open_source(cifar10, "val", val_folder="test")
    assert val.classes == of_folders.classes
    assert contents(val) == contents(of_folders) == folder_contents(cifar10 / "test")
    assert np.bincount(val.labels).tolist() == [20] * 10
    assert val.ids[0] == "ILSVRC2012_val_00000001.JPEG"


def test_cifar10_in_official_tars_converts_to_the_same_labels(
    cifar10: Path, tmp_path: Path, write_dataset: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = write_official(tmp_path / "official", cifar10 / "train", cifar10 / "test")
    done = write_dataset(f"source.path={folder}", "output.folder=out", "output.num_workers=1")
    assert done.returncode == 0, done.stderr
    expected = {name: kind for name, _, kind in flatten_val(cifar10 / "test")}
    expected |= {f"{path.parent.name}/{path.name}": path.parent.name for path in cifar10.glob("train/*/*")}
    found: dict[str, str] = {}
    for split in ("train", "val"):
        beton = open_beton(tmp_path / f"out/{split}.beton")
        assert beton.manifest is not None
        names = [beton.manifest.classes[label] for label in beton.labels]
        found |= dict(zip(beton.manifest.ids, names, strict=True))
    assert found == expected and len(found) == 800


def test_train_tar_itself_may_be_the_path(official: Path, animals: Path) -> None:
    folder = open_source(animals)
    same_as_folder(open_source(official / TRAIN), folder)
    same_as_folder(open_source((official / TRAIN).rename(official / "renamed.tar")), folder)
    assert contents(open_source(official / "renamed.tar", "val")) == folder_contents(animals / "val")


def test_val_folders_beside_the_train_tar_are_found(official: Path, animals: Path) -> None:
    (official / VAL).unlink()
    assert refused(official, "val").startswith(
        f"none of the 1 *.tar files of {official} has 'val' in its name"
    )
    shutil.copytree(animals / "val", official / "val")
    for path in (official, official / TRAIN):
        same_as_folder(open_source(path, "val"), open_source(animals, "val"))


def test_pickled_reader_is_small_and_reads_any_place(official: Path) -> None:
    source = open_source(official)
    assert isinstance(source.places, np.ndarray)
    assert len(pickle.dumps(source.reader)) < 500
    reader, places = pickle.loads(pickle.dumps((source.reader, source.places[3:6])))
    assert [reader.read(place) for place in places] == [source.read(index) for index in (3, 4, 5)]
    assert source.where(0) == f"byte {source.places['offset'][0]} of {official / TRAIN}"
    part = source.select([4, 1])
    assert part.read(0) == source.read(4)


def test_tar_that_became_shorter_is_refused_when_read(official: Path) -> None:
    source = open_source(official)
    with open(official / TRAIN, "r+b") as file:
        file.truncate(3000)
    with pytest.raises(
        UserError, match=r"cannot read byte \d+ of .*img_train\.tar: the file has become shorter"
    ):
        source.read(len(source) - 1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_download_cut_short_is_refused(official: Path, share: float) -> None:
    for name, split in ((TRAIN, "train"), (VAL, "val")):
        data = (official / name).read_bytes().rstrip(b"\0")
        (official / name).write_bytes(data[: int(len(data) * share)])
        message = refused(official, "train" if split == "train" else "val")
        assert name in message and "is cut short" in message and message.endswith("get it again")


def test_class_tar_cut_short_inside_the_tar_is_named(tmp_path: Path) -> None:
    inner = packed([("n01_1.JPEG", b"x" * 2000)])
    write_tar(tmp_path / TRAIN, [("n01.tar", inner[:1024]), ("n02.tar", inner)])
    assert refused(tmp_path).startswith(f"n01.tar in {tmp_path / TRAIN} is cut short: its member n01_1.JPEG")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            [("n01.tar", packed([("a.JPEG", b"x")])), ("notes.txt", b"x")],
            "holds notes.txt among its class tars",
        ),
        ([("n01.tar", packed([("a.JPEG", b"x")]))] * 2, "holds class n01 twice"),
        ([("n01.tar", packed([("a.JPEG", b"x")] * 2))], "n01.tar in"),
        ([("n01.tar", packed([("a.JPEG", b"x")] * 2))], "holds a.JPEG twice: get it again"),
        ([("n01.tar", packed([("a.txt", b"x")]))], "has no images"),
        ([], "has no images"),
        ([("n01.tar", b"x" * 2000)], "is not a tar"),
    ],
)
def test_tar_that_is_not_the_official_one_is_refused(
    tmp_path: Path, files: list[tuple[str, bytes]], expected: str
) -> None:
    write_tar(tmp_path / TRAIN, files)
    message = refused(tmp_path)
    assert str(tmp_path / TRAIN) in message and expected in message


def test_files_that_are_not_images_are_noted(tmp_path: Path) -> None:
    inner = packed([("a.JPEG", b"x"), ("readme.txt", b"y")])
    write_tar(tmp_path / TRAIN, [("n01.tar", inner)])
    source = open_source(tmp_path)
    assert contents(source) == Counter({("n01", b"x"): 1})
    assert source.notes == ("train: ignored 1 files that are not images, such as n01/readme.txt",)


def test_val_without_list_of_classes_is_refused(official: Path) -> None:
    (official / f"{DEVKIT}.tar.gz").unlink()
    message = refused(official, "val")
    assert message.startswith(f"{official / VAL} has no class folders, and no list of its images' classes (")
    assert message.endswith("pass one as --source.val_labels")


def test_devkit_classes_are_in_the_order_of_train(official: Path) -> None:
    val = open_source(official, "val")
    assert val.classes == list(CLASSES)
    assert val.notes == (f"val: classes of the images from {official / DEVKIT}.tar.gz",)
