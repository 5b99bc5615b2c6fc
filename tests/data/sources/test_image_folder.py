"""Class folders become classes, labels and ids, or one line that says what is wrong with them."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.config.write import RulesConfig
from engine.data.convert.image_checks import look_at
from engine.data.sources.access.image_names import OTHER_EXTENSIONS
from engine.errors import UserError
from tests.data.sources.forms import contents, folder_contents, open_source, refused


def _dot() -> NDArray[np.uint8]:
    return np.zeros((4, 4, 3), np.uint8)


def test_labels_are_places_in_sorted_class_names(make_tree: Callable[..., Path]) -> None:
    root = make_tree(
        {"train": {"b": {"2.jpg": _dot(), "10.jpg": _dot()}, "B": {"x.jpg": _dot()}, "a": {"y.jpg": _dot()}}}
    )
    source = open_source(root)
    assert source.classes == ["B", "a", "b"]
    assert source.labels == [0, 1, 2, 2]
    assert source.ids == ["B/x.jpg", "a/y.jpg", "b/10.jpg", "b/2.jpg"]
    assert source.kind == "image folder"
    assert len(source) == 4
    assert source.where(1) == str(root / "train/a/y.jpg")


def test_nested_folders_and_any_case_are_read_but_not_hidden_files(make_tree: Callable[..., Path]) -> None:
    names = ["a.JPEG", "b.jpg", "c.Png", "d.bmp", "e.webp", "f.txt", "g.gif", ".h.jpg"]
    root = make_tree({"train": {"k": {name: _dot() for name in names}, ".git": {"x.jpg": _dot()}}})
    (root / "train/k/inner").mkdir()
    (root / "train/k/inner/i.jpg").write_bytes(b"")
    (root / "train/loose.jpg").write_bytes(b"")
    source = open_source(root)
    assert source.classes == ["k"]
    assert source.ids == ["k/a.JPEG", "k/b.jpg", "k/c.Png", "k/d.bmp", "k/e.webp", "k/inner/i.jpg"]
    assert source.notes == (
        "train: ignored 1 images that are beside the class folders, not in one",
        "train: ignored 1 images of types not taken by default, such as k/g.gif: --source.extensions=.gif takes "
        "them",
        "train: ignored 1 files that are not images, such as k/f.txt",
        "train: ignored 1 images with hidden names, such as k/.h.jpg",
        "train: ignored 1 folders with hidden names, such as .git/",
    )


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_class_that_is_a_broken_link_is_refused(make_tree: Callable[..., Path], prefix: str) -> None:
    root = make_tree({"train": {"a": {"x.jpg": _dot()}, "c": {"y.jpg": _dot()}}})
    # A link that leads somewhere is a class like any other.
    (root / "train/b").symlink_to(root / "train/a")
    assert open_source(f"{prefix}{root}").classes == ["a", "b", "c"]
    (root / "train/d").symlink_to("/mnt/not-mounted/d")
    where = "" if prefix else " (to /mnt/not-mounted/d)"
    assert refused(f"{prefix}{root}") == (
        f"{prefix}{root}/train/d is a link that leads nowhere{where}: mount or restore what it leads to, or remove the "
        "link"
    )
    (root / "train/d").unlink()
    # One that leads to itself.
    (root / "train/d").symlink_to("d")
    assert "train/d is a link that leads nowhere" in refused(root)


def test_split_that_is_a_broken_link_is_refused(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"train": {"a": {"x.jpg": _dot()}}})
    (root / "val").symlink_to("/mnt/not-mounted/val")
    said = f"{root}/val is a link that leads nowhere (to /mnt/not-mounted/val)"
    assert said in refused(root, "val")
    assert said in refused(root / "val")


def test_broken_links_and_hidden_folders_in_a_class_are_noted(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"train": {"a": {"x.jpg": _dot()}}})
    (root / "train/a/.cache").mkdir()
    (root / "train/a/.lock").symlink_to("user@host")
    (root / "train/a/images").symlink_to("/mnt/not-mounted/images")
    # What is to become of an image that can't be read is for the rules to say.
    (root / "train/a/y.jpg").symlink_to("/mnt/not-mounted/y.jpg")
    source = open_source(root)
    assert source.ids == ["a/x.jpg", "a/y.jpg"]
    assert source.notes == (
        "train: ignored 1 folders with hidden names, such as a/.cache/",
        "train: ignored 1 links that lead nowhere, such as a/images: restore what they led to, or remove them",
    )


def test_listed_extensions_are_taken_too(make_tree: Callable[..., Path]) -> None:
    files = {"a.tif": _dot(), "b.PPM": _dot(), "c.jpg": _dot(), "d.gif": _dot(), "e.heic": _dot()}
    root = make_tree({"train": {"k": files, "l": {"x.jfif": _dot()}}})
    assert refused(root) == (
        f"no images in class folder {root}/train/l: --source.extensions=.jfif takes 1 images of other types there; or "
        "add some (jpg, jpeg, png, bmp, webp) or remove it"
    )
    for text in (".tif,.ppm,.jfif", " tif, PPM,jfif"):
        source = open_source(root, extensions=text)
        assert source.ids == ["k/a.tif", "k/b.PPM", "k/c.jpg", "l/x.jfif"]
        assert source.notes == (
            "train: ignored 1 images of types not taken by default, such as k/d.gif: --source.extensions=.gif "
            "takes them",
            "train: ignored 1 images of types that can't be read here, such as k/e.heic: convert them to JPEG or PNG",
        )


@pytest.mark.parametrize("text", [".txt", ".tif,,.gif", "tiff;gif", ".heic", ","])
def test_extension_of_no_readable_image_is_refused(make_tree: Callable[..., Path], text: str) -> None:
    root = make_tree({"train": {"k": {"a.jpg": _dot()}}})
    message = refused(root, extensions=text)
    assert message.startswith("source.extensions: '.")
    assert "is not the extension of an image that can be read" in message and ".tif" in message


@pytest.mark.parametrize("name", OTHER_EXTENSIONS)
def test_image_of_each_other_extension_is_decoded(name: str) -> None:
    Image.init()
    file = io.BytesIO()
    form = Image.registered_extensions()[name]
    try:
        Image.new("1" if name == ".pbm" else "RGB", (9, 7)).save(file, form)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow does not write {form}")
    look = look_at(file.getvalue(), f"x{name}", RulesConfig())
    assert (look.width, look.height) == (9, 7)
    assert not look.odd.keys() - {"palette", "grayscale"}


def test_split_folders_can_be_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"training": {"a": {"1.jpg": _dot()}}, "test": {"b": {"1.jpg": _dot()}}})
    assert open_source(root, train_folder="training").classes == ["a"]
    assert open_source(root, "val", val_folder="test").classes == ["b"]


def test_select_keeps_classes_and_takes_the_given_order(make_tree: Callable[..., Path]) -> None:
    source = open_source(
        make_tree({"train": {"a": {"1.jpg": _dot(), "2.jpg": _dot()}, "b": {"3.jpg": _dot()}}})
    )
    part = source.select([2, 0])
    assert (part.ids, part.classes) == (["b/3.jpg", "a/1.jpg"], ["a", "b"])
    np.testing.assert_array_equal(part.labels, [1, 0])
    assert part.where(0).endswith("b/3.jpg")


def test_images_are_the_bytes_of_their_files(pets: Path) -> None:
    for split in ("train", "val"):
        assert contents(open_source(pets, "train" if split == "train" else "val")) == folder_contents(
            pets / split
        )


def test_file_name_not_in_utf8_is_read_and_printable(make_tree: Callable[..., Path]) -> None:
    root = make_tree({"train": {"k": {"a\n\udcff.jpg": b"no image"}}})
    source = open_source(root)
    assert source.read(0) == b"no image"
    assert "\n" not in source.where(0)
    (root / "train/k/a\n\udcff.jpg").unlink()
    with pytest.raises(UserError) as caught:
        source.read(0)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


def test_imagenet_mini_as_unzipped_is_an_image_folder(make_tree: Callable[..., Path]) -> None:
    names = ("n01440764", "n01443537")
    root = make_tree(
        {split: {name: {f"{name}_1.JPEG": _dot()} for name in names} for split in ("train", "val")}
    )
    mini = root.rename(root.parent / "imagenet-mini")
    for path in (mini, f"{mini}/"):
        train, val = open_source(path), open_source(path, "val")
        assert train.kind == val.kind == "image folder"
        assert train.classes == val.classes == list(names)
        assert train.ids == ["n01440764/n01440764_1.JPEG", "n01443537/n01443537_1.JPEG"]


@pytest.mark.parametrize("name", ["x.jpg", "x.tar"])
def test_pipe_is_refused_without_waiting(make_tree: Callable[..., Path], name: str) -> None:
    root = make_tree({"train": {"k": {"a.jpg": _dot()}}})
    os.mkfifo(root / "train/k" / name)
    with pytest.raises(UserError) as caught:
        open_source(root).read(1) if name == "x.jpg" else open_source(root / "train/k" / name)
    assert str(caught.value) == (
        f"{root}/train/k/{name} is not an ordinary file but a pipe or device: remove it"
    )


@pytest.mark.parametrize("target", ["..", "."])
def test_link_to_a_parent_is_refused_in_a_short_line(make_tree: Callable[..., Path], target: str) -> None:
    root = make_tree({"train": {"k": {"a.jpg": _dot()}, "l": {"b.jpg": _dot()}}})
    (root / "train/l/loop").symlink_to(target)
    assert refused(root) == (
        f"{root}/train/l/loop holds an endless loop of folders: remove the link in it that leads back up"
    )


def test_image_removed_after_listing_is_an_error(make_tree: Callable[..., Path]) -> None:
    source = open_source(make_tree({"train": {"k": {"x.jpg": _dot()}}}))
    Path(source.where(0)).unlink()
    with pytest.raises(UserError, match=r"cannot read .*k/x\.jpg: it does not exist"):
        source.read(0)


def test_missing_split_names_the_folders_found(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source.path .*nowhere does not exist"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file").startswith(f"source.path {tmp_path}/file is a file of no known kind")
    root = make_tree({"train": {"a": {}}, "test": {"a": {}}, "meta": {"a": {}}})
    with pytest.raises(UserError) as caught:
        open_source(root, "val")
    assert str(caught.value) == (
        f"no folder 'val' under {root}; found: meta, test, train: pass --source.val_folder=test"
    )
    # Who followed "test" would choose on the test set.
    (root / "Validation").mkdir()
    assert refused(root, "val").endswith(": pass --source.val_folder=Validation")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no folder 'train' under .*; found: no folders"):
        open_source(tmp_path / "empty")


def test_missing_classes_and_empty_classes_are_named(make_tree: Callable[..., Path]) -> None:
    root = make_tree(
        {"train": {"a": {"1.jpg": _dot()}, "b": {}, "c": {"x.txt": b"x"}}, "val": {}, "flat": {}}
    )
    with pytest.raises(UserError, match=r"no images in class folder .*train/b \(and 1 more class folders\)"):
        open_source(root)
    (root / "val").mkdir()
    with pytest.raises(UserError, match=r"no class folders in .*val: it holds neither folders nor images"):
        open_source(root, "val")
    (root / "val/1.jpg").touch()
    (root / "val/k").mkdir()
    with pytest.raises(UserError, match=r"no images in class folder .*val/k"):
        open_source(root, "val")
    (root / "train2").mkdir()
    (root / "train2/1.jpg").touch()
    assert "no class folders in" in refused(root, train_folder="train2")
