"""A validation folder without class folders gets its labels from each kind of list, or one line that says why not."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.write import SourceConfig
from engine.data.sources.access.label_list import find_label_list
from engine.data.sources.access.location import LocalPath
from engine.errors import UserError
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import (
    contents,
    flatten_val,
    folder_contents,
    open_source,
    refused,
    solution,
    write_devkit,
)

Flat = list[tuple[str, bytes, str]]


@pytest.fixture
def flat(animals: Path) -> Flat:
    return flatten_val(animals / "val")


@pytest.fixture
def root(animals: Path, flat: Flat, tmp_path: Path) -> Path:
    """train/ in class folders, val/ flat, and no list yet."""
    folder = tmp_path / "imagenet"
    shutil.copytree(animals / "train", folder / "train")
    (folder / "val").mkdir()
    for name, content, _ in flat:
        (folder / "val" / name).write_bytes(content)
    return folder


def plain(flat: Flat, ending: str = "") -> str:
    """A list of lines `file-name class`."""
    return "".join(f"{name.removesuffix(ending)} {kind}\n" for name, _, kind in reversed(flat))


def write_list(kind: str, path: Path, flat: Flat) -> Path:
    """A list of this kind at a path of its usual name, in this folder."""
    truth = [name for _, _, name in flat]
    if kind == "kaggle":
        path /= "LOC_val_solution.csv"
        path.write_text(solution(flat), encoding="utf-8")
    elif kind == "plain":
        path /= "val_labels.txt"
        path.write_text(plain(flat), encoding="utf-8")
    else:
        path = write_devkit(path / "ILSVRC2012_devkit_t12", CLASSES, truth)
        if kind == "packed devkit":
            path = Path(shutil.make_archive(str(path), "gztar", path.parent, path.name))
            shutil.rmtree(path.with_name("ILSVRC2012_devkit_t12"))
    return path


@pytest.mark.parametrize("kind", ["devkit", "packed devkit", "kaggle", "plain"])
@pytest.mark.parametrize("place", [".", "val", "..", "elsewhere"])
def test_each_kind_of_list_gives_the_folders_labels(
    kind: str, place: str, root: Path, flat: Flat, animals: Path
) -> None:
    folder = root / place
    folder.mkdir(exist_ok=True)
    written = write_list(kind, folder.resolve(), flat)
    source = open_source(root, "val", val_labels=str(written) if place == "elsewhere" else "")
    assert source.kind == "flat folder"
    assert source.classes == open_source(root).classes == list(CLASSES)
    assert contents(source) == folder_contents(animals / "val")
    assert source.ids == sorted(name for name, _, _ in flat)
    assert source.notes[0].startswith("val: classes of the images from ")
    assert written.name in source.notes[0]
    assert source.where(0) == str(root / "val" / source.ids[0])


def test_list_names_match_without_extension_or_folder(root: Path, flat: Flat, animals: Path) -> None:
    for text in (plain(flat, ".JPEG"), "".join(f"val/{line}\n\n" for line in plain(flat).splitlines())):
        (root / "val_labels.txt").write_text(text, encoding="utf-8")
        assert contents(open_source(root, "val")) == folder_contents(animals / "val")


@pytest.mark.parametrize("between", [" ", "  ", "\t", " \t "])
def test_list_names_and_classes_may_have_spaces(tmp_path: Path, between: str) -> None:
    pairs = [
        ("im 0.jpg", "a"),
        ("a.png b.JPEG", "great white shark"),
        ("plain.jpg", "a"),
        ("im 1 2.webp", "a"),
    ]
    if "\t" in between:
        pairs.append(("no extension.jpg", "great white shark"))
    for folder in ("train/a", "train/great white shark", "val"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jpg").write_bytes(b"x")
    (tmp_path / "val/x.jpg").unlink()
    for name, _ in pairs:
        (tmp_path / "val" / name).write_bytes(b"x")
    lines = [f"{name}{between}{kind}" for name, kind in pairs]
    if "\t" in between:
        lines[-1] = lines[-1].replace(".jpg", "")
    (tmp_path / "val_labels.txt").write_text("\n".join(lines), encoding="utf-8")
    source = open_source(tmp_path, "val")
    found = {name: source.classes[label] for name, label in zip(source.ids, source.labels, strict=True)}
    assert found == dict(pairs)


def test_listed_images_not_there_are_refused_or_noted(root: Path, flat: Flat) -> None:
    write_list("plain", root, flat)
    (root / "val" / flat[4][0]).unlink()
    with pytest.raises(
        UserError, match=r"1 more images, such as ILSVRC2012_val_00000005, which do not exist: get"
    ):
        open_source(root, "val")
    source = open_source(root, "val", check_counts=False)
    assert len(source) == len(flat) - 1
    assert source.notes[1].endswith("has 1 more images, such as ILSVRC2012_val_00000005: they do not exist")


def test_files_that_are_not_images_are_counted(root: Path, flat: Flat) -> None:
    write_list("plain", root / "val", flat)
    (root / "val/notes.txt").touch()
    (root / "val/._a.jpg").touch()
    (root / "val/.thumbs").mkdir()
    (root / "val/lost").symlink_to("/nowhere")
    assert open_source(root, "val").notes[1:] == (
        "val: ignored 1 files that are not images, such as notes.txt",
        "val: ignored 1 images with hidden names, such as ._a.jpg",
        "val: ignored 1 folders with hidden names, such as .thumbs/",
        "val: ignored 1 links that lead nowhere, such as lost: restore what they led to, or remove them",
    )


def _change(line: int, text: str) -> Callable[[str], str]:
    def change(before: str) -> str:
        lines = before.splitlines()
        lines[line] = text
        return "\n".join(lines) + "\n"

    return change


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        (
            "plain",
            lambda text: text[text.index("\n") + 1 :],
            "names no class for 1 of 9 images, such as ILSVRC2012",
        ),
        ("plain", lambda text: "", "names no class for 9 of 9 images"),
        ("plain", lambda text: text + text, "9 images are in .* more than once, such as ILSVRC2012"),
        (
            "plain",
            _change(0, "ILSVRC2012_val_00000009 65"),
            r"not among the 3 of train, such as '65' for ILSVRC",
        ),
        ("plain", _change(2, "one_word"), r"line 3 of .* is 'one_word': write it as `file-name class`"),
        ("kaggle", lambda text: text[text.index("\n") + 1 :], "does not start with ImageId,PredictionString"),
        (
            "kaggle",
            _change(2, "ILSVRC2012_val_00000008,n01440764 1 2 3"),
            "line 3 of .* is not an image and the",
        ),
        ("kaggle", _change(2, "ILSVRC2012_val_00000008,"), "line 3 of .* is not an image and the boxes"),
        ("kaggle", _change(1, "x,n01440764 1 2 3 4 n01443537 1 2 3 4"), "line 2 of .* boxes of one class"),
        ("kaggle", lambda text: "", "does not start with"),
        (
            "kaggle",
            _change(2, f"ILSVRC2012_val_00000008,{'n01440764 1 2 3 4 ' * 8000}"),
            r"line 3 of .* can't be read \(field larger than field limit \(131072\)\): get the file again",
        ),
    ],
)
def test_list_that_does_not_fit_is_refused(
    kind: str, change: Callable[[str], str], expected: str, root: Path, flat: Flat
) -> None:
    path = write_list(kind, root, flat)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    message = refused(root, "val")
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(message)
    assert str(path) in message


def test_damaged_devkit_is_refused(root: Path, flat: Flat) -> None:
    pack = write_list("packed devkit", root, flat)
    whole = pack.read_bytes()
    for data in (whole[: len(whole) // 2], b"hello", b""):
        pack.write_bytes(data)
        assert "is not a whole .tar.gz (" in refused(root, "val")
    with tarfile.open(pack, "w:gz"):
        pass
    assert "holds no data/ILSVRC2012_validation_ground_truth.txt" in refused(root, "val")
    pack.unlink()
    devkit = write_list("devkit", root, flat)
    (devkit / "data/ILSVRC2012_validation_ground_truth.txt").write_text("1\n1001\n", encoding="utf-8")
    assert "line 2 of data/ILSVRC2012_validation_ground_truth.txt in" in refused(root, "val")
    (devkit / "data/meta.mat").write_bytes(b"no mat file")
    assert f"data/meta.mat in {devkit} can't be read (" in refused(root, "val")
    (devkit / "data/meta.mat").unlink()
    assert "meta.mat: it does not exist" in refused(root, "val")


def test_missing_or_binary_list_is_refused(root: Path, flat: Flat) -> None:
    assert "has no class folders, and no list of its images' classes" in refused(root, "val")
    assert "nowhere.txt: it does not exist" in refused(root, "val", val_labels=str(root / "nowhere.txt"))
    (root / "list.txt").write_bytes(b"\xff\xfe\x00")
    assert "list.txt is not a text file" in refused(root, "val", val_labels=str(root / "list.txt"))


@pytest.mark.parametrize("exists", [True, False])
def test_list_beside_class_folders_is_refused(
    animals: Path, tmp_path: Path, flat: Flat, exists: bool
) -> None:
    path = write_list("plain", tmp_path, flat) if exists else tmp_path / "nowhere.txt"
    expected = "source.val_labels: val has class folders: drop the option"
    assert refused(animals, "val", val_labels=str(path)) == expected
    packed = shutil.make_archive(str(tmp_path / "all"), "tar", animals)
    assert refused(packed, "val", val_labels=str(path)) == expected
    # Train has its own, and what is said of val does not matter to it.
    assert open_source(animals, val_labels=str(path)).classes == list(CLASSES)


def test_two_images_of_one_name_are_refused(root: Path, flat: Flat) -> None:
    write_list("plain", root, flat)
    shutil.copy(root / "val" / flat[0][0], (root / "val" / flat[0][0]).with_suffix(".png"))
    assert "1 images have the same name but for folder or extension" in refused(root, "val")


def test_missing_train_is_refused_not_guessed(root: Path, flat: Flat) -> None:
    write_list("plain", root, flat)
    shutil.rmtree(root / "train")
    assert refused(root, "val").startswith(f"no folder 'train' under {root}")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny-ImageNet's layout as it is downloaded: images/ below each class and in val, boxes, lists, a test split."""
    root = tmp_path / "tiny-imagenet-200"
    boxes = ""
    for number, name in enumerate(("n02", "n01")):
        (root / "train" / name / "images").mkdir(parents=True)
        for index in range(2):
            (root / "train" / name / "images" / f"{name}_{index}.JPEG").write_bytes(b"t")
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t10\t63\t58\n")
        (root / "val/images").mkdir(parents=True, exist_ok=True)
        (root / f"val/images/val_{number}.JPEG").write_bytes(b"v")
        boxes += f"val_{number}.JPEG\t{name}\t0\t32\t44\t62\n"
    (root / "val/val_annotations.txt").write_text(boxes)
    (root / "test/images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    return root


def test_tiny_imagenet_is_read_as_downloaded(tiny: Path) -> None:
    train = open_source(tiny)
    assert train.classes == ["n01", "n02"]
    assert train.ids[0] == "n01/images/n01_0.JPEG" and list(train.labels) == [0, 0, 1, 1]
    annotations = str(tiny / "val/val_annotations.txt")
    inner = {"val_folder": "val/images"}
    for options in ({}, {"val_labels": annotations}, inner, {**inner, "val_labels": annotations}):
        val = open_source(tiny, "val", **options)
        assert (val.kind, val.classes) == ("flat folder", ["n01", "n02"])
        assert (val.ids, list(val.labels)) == (["val_0.JPEG", "val_1.JPEG"], [1, 0])
        assert val.read(0) == b"v"
        assert val.notes == (f"val: classes of the images from {annotations}",)


def test_images_that_are_a_class_of_train_stay_one(tiny: Path) -> None:
    (tiny / "train/n01").rename(tiny / "train/images")
    assert open_source(tiny, "val").classes == ["images"]


def test_tiny_imagenet_without_its_list_says_where_it_was_looked_for(tiny: Path) -> None:
    (tiny / "val/val_annotations.txt").unlink()
    message = refused(tiny, "val")
    assert f"lies in {tiny}/val/images or {tiny}/val or {tiny} or" in message
    assert message.endswith("pass one as --source.val_labels")


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("a.jpg\tcat\t0\t-3\t44.5\t62", ("a", "cat")),
        ("a.jpg\t\tcat", ("a", "cat")),
        ("a\tb.jpg\tcat", ("a\tb", "cat")),
        ("a.jpg\t\t7", ("a", "7")),
        ("a b.tif cat", ("a b", "cat")),
    ],
)
def test_line_of_a_list_is_split_by_its_tabs(tmp_path: Path, line: str, pair: tuple[str, str]) -> None:
    (tmp_path / "list.txt").write_text(line + "\n", encoding="utf-8")
    place = LocalPath(str(tmp_path))
    config = SourceConfig(path=str(tmp_path), val_labels=str(tmp_path / "list.txt"))
    assert find_label_list(config, place, [place]).classes == dict([pair])
