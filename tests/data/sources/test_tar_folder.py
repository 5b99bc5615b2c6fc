"""A tar of an image folder is read as the unpacked folder is."""

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.data.sources.forms import open_source, refused, same_as_folder, write_tar


@pytest.mark.parametrize("top", ["", ".", "imagenet"])
def test_tar_equals_the_unpacked_folder(animals: Path, tmp_path: Path, top: str) -> None:
    root = tmp_path / "folder"
    shutil.copytree(animals, root)
    # Files come before folders of the same class, whatever their names.
    (root / "train/n01440764/inner").mkdir()
    (root / "train/n01440764/inner/a.jpg").write_bytes(b"a")
    (root / "train/n01440764/z.jpg").write_bytes(b"z")
    (root / "train/n01440764/.hidden.jpg").write_bytes(b"h")
    (root / "train/n01440764/notes.txt").write_bytes(b"n")
    # Among the last by name, among the first in the tar.
    (root / "train/n01440764/a_folder").mkdir()
    (root / "train/n01440764/a_folder/a.txt").write_bytes(b"n")
    (root / "train/loose.jpg").write_bytes(b"l")
    (root / "train/loose.txt").write_bytes(b"l")
    (root / "train/.hidden").mkdir()
    (root / "train/.hidden/a.jpg").write_bytes(b"h")
    # A class that is called as the other split is, and is none of that.
    shutil.copytree(root / "train/n01440764", root / "train/val")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for split in ("val", "train"):
            tar.add(root / split, f"{top}/{split}" if top else split)
    for split in ("train", "val"):
        source = open_source(tmp_path / "all.tar", "train" if split == "train" else "val")
        folder = open_source(root, "train" if split == "train" else "val")
        same_as_folder(source, folder)
        assert source.notes == folder.notes
        assert len(folder.notes) == (4 if split == "train" else 0)
        assert source.kind == "tar of an image folder"


@pytest.mark.parametrize("with_folders", [True, False])
def test_class_without_images_is_refused_as_in_a_folder(
    animals: Path, tmp_path: Path, with_folders: bool
) -> None:
    root = tmp_path / "folder"
    shutil.copytree(animals, root)
    for split in ("train", "val"):
        (root / split / "m").mkdir()
        (root / split / "m/scan.tif").write_bytes(b"t")
        # One that only folders among the members tell of.
        (root / split / "n").mkdir()
    members = sorted(root.rglob("*")) if with_folders else sorted(root.glob("*/*/*"))
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for path in members:
            tar.add(path, path.relative_to(root), recursive=False)
    more = " (and 1 more class folders)" if with_folders else ""
    for split in ("train", "val"):
        message = refused(tmp_path / "all.tar", "train" if split == "train" else "val")
        assert message == (
            f"no images in class folder {split}/m of {tmp_path}/all.tar{more}: "
            "--source.extensions=.tif takes 1 images of other types there; or add some (jpg, jpeg, png, bmp, webp) or "
            "remove it"
        )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("val/k/a.jpg", b"x")], "holds no images in train/<class>/: pass --source.train_folder=NAME"),
        ([("train/a.jpg", b"x")], "holds no images in train/<class>/"),
        ([("train/k/a.jpg", b"x")] * 2, "holds some images of train/ twice"),
        ([], "holds no images in train/<class>/"),
    ],
)
def test_tar_without_image_folder_is_refused(
    tmp_path: Path, files: list[tuple[str, bytes]], expected: str
) -> None:
    assert expected in refused(write_tar(tmp_path / "x.tar", files))


def test_compressed_tar_is_refused_with_reason(animals: Path, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "all"), "gztar", animals)
    assert refused(packed) == f"{packed} is not a tar: it is compressed: uncompress it first"


def test_one_tar_of_several_is_refused(animals: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "all-0-of-2"), "tar", animals))
    said = refused(packed)
    assert said.startswith(
        f"{packed} is one of several tars by its name, and class folders are read from one: unpack"
    )
    assert len(open_source(packed, check_counts=False)) == 18
