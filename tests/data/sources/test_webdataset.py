"""WebDataset shards give the images and labels that were packed, or one line that says what is wrong with them."""

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import contents, folder_contents, open_source, refused, write_shards, write_tar


@pytest.fixture
def shards(animals: Path, tmp_path: Path) -> Path:
    """Shards of both splits in one folder, with the class names."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for split in ("train", "val"):
        write_shards(folder, split, animals / split, label="cls" if split == "train" else "json")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return folder


def test_shards_in_a_folder_equal_the_image_folder(shards: Path, animals: Path) -> None:
    train, val = open_source(shards), open_source(shards, "val")
    assert train.kind == val.kind == "WebDataset"
    assert train.classes == val.classes == list(CLASSES)
    assert contents(train) == folder_contents(animals / "train")
    assert contents(val) == folder_contents(animals / "val")
    assert refused(shards, "val", val_labels="list.txt") == (
        "source.val_labels: val has labels of its own (WebDataset): drop the option"
    )
    assert train.ids[:2] == ["train-000/00000.jpg", "train-000/00001.jpg"]
    assert isinstance(train.places, np.ndarray)
    assert train.places["file"].tolist() == [0] * 7 + [1] * 7 + [2] * 4


def test_shards_of_neither_split_are_noted_once(shards: Path) -> None:
    assert open_source(shards).notes == open_source(shards, "val").notes == ()
    for name in ("test-000.tar", "train-val-000.tar"):
        (shards / name).write_bytes((shards / "train-000.tar").read_bytes())
    assert open_source(shards).notes == (
        "ignored 2 *.tar files of neither train nor val, such as test-000.tar",
    )
    assert open_source(shards, "val").notes == ()


@pytest.mark.parametrize(
    "pattern", ["*.tar", "{train,val}-00?.tar", "{train-{000..002},val-{000..001}}.tar", "[tv]*-*.tar"]
)
def test_pattern_names_the_shards(shards: Path, animals: Path, pattern: str) -> None:
    (shards / "classes.txt").unlink()
    train = open_source(f"{shards}/{pattern}")
    assert train.classes == ["0", "1", "2"]
    assert len(train) == len(folder_contents(animals / "train"))
    assert len(open_source(f"{shards}/{pattern}", "val")) == len(folder_contents(animals / "val"))


def test_relative_paths_and_split_folders_are_read(
    shards: Path, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "validation"):
        (shards / split).mkdir()
        for shard in shards.glob(f"{split[:3]}*-*.tar"):
            shard.rename(shards / split / shard.name[-7:])
    monkeypatch.chdir(shards.parent)
    for path in ("shards", "./shards/", "shards/*/*.tar"):
        assert len(open_source(path)) == 18
        val = open_source(path, "val", val_folder="validation")
        assert len(val) == 9
    assert contents(open_source("shards", "val", val_folder="validation")) == folder_contents(animals / "val")


def test_pickled_reader_of_many_shards_is_small(shards: Path) -> None:
    source = open_source(shards)
    assert len(pickle.dumps(source.reader)) < 500
    again = pickle.loads(pickle.dumps(source.reader))
    assert again.read(source.places[9]) == source.read(9)
    assert source.where(9).endswith("train-001.tar")


def test_tar_beside_class_folders_is_still_an_image_folder(animals: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(animals, root)
    for folder in (root, root / "train"):
        write_tar(folder / "train-backup.tar", [("a.jpg", b"x"), ("a.cls", b"0")])
    assert open_source(root).kind == "image folder"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("a.jpg", b"x"), ("a.cls", b"1")], None),
        ([("a.JPEG", b"x"), ("a.json", _json({"label": 1})), ("a.seg.png", b"mask")], None),
        ([("k/a.webp", b"x"), ("k/a.cls", b"1\n"), ("k/a.txt", b"words")], None),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("b.jpg", b"x"), ("b.txt", b"1")], "sample b of {} has no label"),
        ([("a.cls", b"1")], "sample a of {} has no images (a.cls)"),
        ([("a.jpg", b"x"), ("a.png", b"x"), ("a.cls", b"1")], "sample a of {} has 2 images (a.jpg, a.png, a.cls)"),
        ([("a.jpg", b"x"), ("a.cls", b"cat")], "sample a of {}: its .cls holds no integer label"),
        ([("a.jpg", b"x"), ("a.cls", b"\xff\n\xfe")], "sample a of {}: its .cls holds no integer label"),
        ([("a.jpg", b"x"), ("a.json", b'{"label": 1')], "sample a of {}: its .json holds no integer label"),
        ([("a.jpg", b"x"), ("a.json", _json({"label": 1.5}))], "sample a of {}: its .json holds no integer"),
        ([("a.jpg", b"x"), ("a.json", _json({"label": True}))], "sample a of {}: its .json holds no integer"),
        ([("a.jpg", b"x"), ("a.json", b"[" * 10**5)], "sample a of {}: its .json holds no integer label"),
        ([("a.jpg", b"x"), ("a.json", _json([1]))], "sample a of {}: its .json holds no integer label"),
        ([("a.jpg", b"x"), ("a.cls", b"-1")], "has the label -1: labels start at 0"),
        ([("a.jpg", b"x"), ("a.cls", b"123456789")], "has the label 123456789: put a classes.txt there"),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("b.jpg", b"x"), ("b.cls", b"1"), ("a.jpg", b"x"), ("a.cls", b"1")],
         "sample train-0/a.jpg is there twice"),
        ([], "the 1 shards of train in {folder} hold no samples"),
        ([("k.1/s.in.jpg", b"x"), ("k.1/s.out.cls", b"1")], None),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.json", _json({"label": 1})), ("a.seg.json", _json({}))], None),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.json", _json({})), ("a.seg.png", b"m"), ("a.seg.json", b"")], None),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.json", _json({"label": 2}))],
         "sample a of {} has two labels (1 in a.cls, 2 in a.json): correct one of them"),
        ([("a.jpg", b"x"), ("a.cls", b"1"), ("a.2.jpg", b"x"), ("a.2.cls", b"1")],
         "sample a of {} has 2 images with labels (a.jpg and a.2.jpg): A sample's key ends at the first dot: pack"),
        ([("2.5.jpg", b"x"), ("2.5.cls", b"1"), ("2.7.jpg", b"x")],
         "sample 2 of {} has 2 images (2.5.jpg, 2.5.cls, 2.7.jpg): it must have one, and a label. A sample's key ends"),
        ([("2.5.jpg", b"x"), ("2.5.png", b"x"), ("2.5.cls", b"1"), ("2.7.jpg", b"x"), ("2.7.cls", b"1")],
         "sample 2.5 of {} has 2 images (2.5.jpg, 2.5.png, 2.5.cls)"),
        ([("a.tif", b"x"), ("a.cls", b"1")], "--source.extensions=.tif takes images of other types"),
    ],
)  # fmt: skip
def test_samples_are_read_or_refused_by_name(
    tmp_path: Path, files: list[tuple[str, bytes]], expected: str | None
) -> None:
    shard = write_tar(tmp_path / "train-0.tar", files)
    if expected is None:
        assert contents(open_source(tmp_path)) == Counter({("1", b"x"): 1})
    else:
        assert expected.format(shard, folder=tmp_path) in refused(tmp_path)


def test_listed_extensions_are_taken_from_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", [("a.tif", b"x"), ("a.cls", b"1")])
    assert open_source(tmp_path, extensions=".tif").ids == ["train-0/a.tif"]


def test_labels_without_name_and_bad_name_lists_are_refused(shards: Path) -> None:
    for text, expected in (
        ("a\nb\n", "has the label 2, but there are 2 class names"),
        ("a\n\nb\n", "classes.txt is empty, has an empty line or a name twice"),
        ("a\nb\na\n", "classes.txt is empty, has an empty line or a name twice"),
        ("", "classes.txt is empty, has an empty line or a name twice"),
    ):
        (shards / "classes.txt").write_text(text, encoding="utf-8")
        assert expected in refused(shards)
    (shards / "classes.txt").write_bytes(b"\xff\xfe")
    assert "classes.txt is not a text file" in refused(shards)


def test_missing_or_cut_shards_are_refused(shards: Path) -> None:
    assert "no file matches" in refused(f"{shards}/train-{{000..003}}.tar")
    assert "train-003.tar" in refused(f"{shards}/train-{{000..003}}.tar")
    assert "has 'test' in its name" in refused(shards, "val", val_folder="test")
    data = (shards / "train-001.tar").read_bytes().rstrip(b"\0")
    (shards / "train-001.tar").write_bytes(data)
    assert refused(shards).startswith(f"{shards}/train-001.tar is cut short")


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1), slice(0, None, 2)])
def test_keys_with_dots_are_read_where_all_are_whole(tmp_path: Path, order: slice) -> None:
    pairs = {"22.05": 0, "22.10": 2, "22.10.b": 1, "x/7.1": 2}
    images = [(f"{key}.png", key.encode()) for key in pairs]
    labels = [(f"{key}.cls", str(label).encode()) for key, label in pairs.items()]
    mixed = [one for both in zip(images, labels, strict=True) for one in both]
    files = mixed[order] if order.step != 2 else [*mixed[0:6:2], *mixed[1:6:2], *mixed[6:]]
    write_tar(tmp_path / "train-0.tar", files)
    source = open_source(tmp_path)
    assert contents(source) == Counter({(str(label), key.encode()): 1 for key, label in pairs.items()})
    assert set(source.ids) == {f"train-0/{key}.png" for key in pairs}


def test_two_lists_of_class_names_that_differ_are_refused(shards: Path) -> None:
    (shards / "class_names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    assert open_source(shards).classes == list(CLASSES)
    (shards / "class_names.txt").write_text("\n".join(CLASSES[::-1]) + "\n", encoding="utf-8")
    both = f"{shards}/classes.txt and {shards}/class_names.txt"
    assert refused(shards) == f"{both} are not the same list of class names: remove the wrong one"


def test_missing_shard_is_refused_unless_counts_are_not_checked(shards: Path) -> None:
    (shards / "train-001.tar").unlink()
    said = (
        f"1 of 3 files are missing (train-001.tar), by the name of {shards}/train-000.tar: get them, or pass "
    )
    assert refused(shards) == f"{said}--source.check_counts=false to convert what is there"
    assert len(open_source(shards, check_counts=False)) == 7 + 4
    assert len(open_source(shards, "val")) == 9
