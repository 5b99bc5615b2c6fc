"""Parquet files in the layouts of Hugging Face's hub give the images and labels written into them."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.write import SourceConfig
from engine.data.sources import Source, open_splits
from engine.data.sources.access import parquet_file
from engine.errors import UserError
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import contents, encoded, folder_contents, open_source, refused

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Rows = list[tuple[str, bytes, int]]


def rows_of(folder: Path) -> Rows:
    """(file name, content, label) of class folders, the classes mixed."""
    files = sorted(folder.glob("*/*"), key=lambda path: path.name[::-1])
    return [(path.name, path.read_bytes(), CLASSES.index(path.parent.name)) for path in files]


def write_parquet(
    path: Path,
    rows: Rows,
    style: str = "struct",
    named: bool = True,
    columns: tuple[str, str] = ("image", "label"),
    names: Any = CLASSES,
) -> Path:
    """One file, in row groups of four, as `datasets` writes it."""
    if style == "struct":
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        images = pyarrow.array([{"bytes": content, "path": name} for name, content, _ in rows], kind)
    else:
        images = pyarrow.array([content for _, content, _ in rows], pyarrow.binary())
    labels = pyarrow.array([label for _, _, label in rows], pyarrow.int64())
    table = pyarrow.table({columns[0]: images, columns[1]: labels})
    if named:
        label = {"names": names, "_type": "ClassLabel"}
        features = {columns[0]: {"_type": "Image"}, columns[1]: label}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=4)
    return path


@pytest.mark.parametrize("style", ["struct", "binary"])
@pytest.mark.parametrize("columns", [("image", "label"), ("img", "labels")])
def test_parquet_files_equal_the_image_folder(
    animals: Path, tmp_path: Path, style: str, columns: tuple[str, str]
) -> None:
    rows = rows_of(animals / "train")
    write_parquet(tmp_path / "set/data/train-00000-of-00002.parquet", rows[:11], style, columns=columns)
    write_parquet(tmp_path / "set/data/train-00001-of-00002.parquet", rows[11:], style, columns=columns)
    validation = tmp_path / "set/data/validation-00000-of-00001.parquet"
    write_parquet(validation, rows_of(animals / "val"), style, columns=columns)
    train, val = open_source(tmp_path / "set"), open_source(tmp_path / "set", "val")
    assert train.kind == "parquet"
    assert train.classes == val.classes == list(CLASSES)
    assert contents(train) == folder_contents(animals / "train")
    assert contents(val) == folder_contents(animals / "val")
    name = f"_{rows[11][0]}" if style == "struct" else ""
    assert train.ids[11] == f"train-00001-of-00002/0000000{name}"
    assert "--output.order=source" in train.notes[0]
    assert train.where(18 - 1) == f"row 2 of row group 1 of {tmp_path}/set/data/train-00001-of-00002.parquet"
    reader = pickle.loads(pickle.dumps(train.reader))
    assert isinstance(train.places, np.ndarray)
    assert reader.read(train.places[17]) == rows[17][1]


def test_missing_names_come_from_a_list_or_the_numbers(animals: Path, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", rows_of(animals / "train"), named=False)
    assert open_source(path).classes == ["0", "1", "2"]
    (tmp_path / "classes.txt").write_text("a\nb\nc\n", encoding="utf-8")
    assert open_source(path).classes == ["a", "b", "c"]


def test_metadata_without_names_is_ignored(animals: Path, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", rows_of(animals / "train"), names=5)
    assert open_source(path).classes == ["0", "1", "2"]


def test_repeated_class_name_is_refused(animals: Path, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", rows_of(animals / "train"), names=["a", "b", "a"])
    assert refused(path) == f"{path} has the class name 'a' twice: give each class another name"


_NO_TEXT = pyarrow.Array.from_buffers(
    pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff")]
)


def _table(**columns: Any) -> Callable[[Path], None]:
    return lambda path: parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            _table(image=[b"x"], name=["a"]),
            "{} has no column of labels with a usual name: pass --source.label_column=NAME, one of image (binary), "
            "name (string)",
        ),
        (
            _table(image=[b"x"], label=[1.5]),
            "column 'label' of {} is of type double: labels must be integers or class names, one a row",
        ),
        (_table(image=[b"x", b"y"], label=[1, None]), "column 'label' of {} has 1 rows without a label"),
        (_table(image=[b"x", b"y"], label=["a", " "]), "column 'label' of {} has 1 rows without a label"),
        (_table(image=[b"x", b"y"], label=["a", None]), "column 'label' of {} has 1 rows without a label"),
        (_table(image=[b"x"], label=_NO_TEXT), "{} is not a whole parquet file ("),
        (_table(image=[b"x"], label=_NO_TEXT.dictionary_encode()), "{} is not a whole parquet file ("),
        (_table(image=[b"x"], label=[[1, 2]]), "is of type list<element: int64>: labels must be integers or"),
        (
            _table(path=["x"], label=[1]),
            "{} has no column of images with a usual name: pass --source.image_column",
        ),
        (
            _table(image=[[b"x", b"y"], [b"z"]], label=[1, 2]),
            "column 'image' of {} has 3 images in 2 rows: write each as a row with its label",
        ),
        (_table(image=[b"x"], label=[-1]), "has the label -1: labels start at 0"),
        (
            _table(image=pyarrow.array([], pyarrow.binary()), label=pyarrow.array([], pyarrow.int64())),
            "have no rows",
        ),
        (lambda path: path.write_bytes(b"PAR1 and no more"), "{} is not a whole parquet file ("),
        (lambda path: path.write_bytes(b""), "{} is not a whole parquet file ("),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, write: Callable[[Path], None], expected: str
) -> None:
    path = tmp_path / "train.parquet"
    write(path)
    assert expected.format(path) in refused(tmp_path)


def test_file_cut_short_or_of_another_set_is_refused(animals: Path, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train-1.parquet", rows_of(animals / "train"))
    write_parquet(tmp_path / "train-2.parquet", rows_of(animals / "train"), columns=("img", "label"))
    assert f"{tmp_path}/train-2.parquet has other columns than {path}" in refused(tmp_path)
    (tmp_path / "train-2.parquet").write_bytes(path.read_bytes()[:-100])
    assert f"{tmp_path}/train-2.parquet is not a whole parquet file (" in refused(tmp_path)


def test_damage_and_rows_without_bytes_are_refused_when_read(animals: Path, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [("a.jpg", b"x" * 5000, 0), ("b.jpg", b"y" * 5000, 1)])
    source = open_source(path)
    data = bytearray(path.read_bytes())
    data[20] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train\.parquet is not a whole parquet file \("):
        source.read(0)
    elsewhere = tmp_path / "elsewhere/train.parquet"
    elsewhere.parent.mkdir()
    images = [{"bytes": None, "path": "a.jpg"}, None]
    parquet.write_table(pyarrow.table({"image": images, "label": [0, 0]}), elsewhere)
    source = open_source(elsewhere)
    for row in range(2):
        with pytest.raises(UserError, match=rf"row {row} of row group 0 of .*: it holds no image bytes"):
            source.read(row)
    assert source.ids == ["train/0000000_a.jpg", "train/0000001"]


def test_missing_pyarrow_is_named(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "train.parquet", rows_of(animals / "train"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refused(path) == f"{path} is read with pyarrow, which is not installed: pip install pyarrow"


def _lists(root: Path, *names: list[str], split: str = "train") -> list[Path]:
    """A file of two images for each list of class names; an image's content is its class."""
    return [
        write_parquet(
            root / f"{split}-{number:05d}-of-{len(names):05d}.parquet",
            [(f"{number}{label}.jpg", name.encode(), label) for label, name in enumerate(classes)],
            names=classes,
        )
        for number, classes in enumerate(names)
    ]


def _pairs(source: Source) -> list[tuple[str, str]]:
    return [(encoded(source, i).decode(), source.classes[label]) for i, label in enumerate(source.labels)]


def test_files_with_classes_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    first, second = _lists(tmp_path, ["cat", "dog"], ["dog", "cat"])
    _lists(tmp_path, ["dog", "cat"], split="val")
    train, val = open_source(tmp_path), open_source(tmp_path, "val")
    assert train.classes == val.classes == ["cat", "dog"]
    assert _pairs(train) == [("cat", "cat"), ("dog", "dog"), ("dog", "dog"), ("cat", "cat")]
    assert _pairs(val) == [("dog", "dog"), ("cat", "cat")]
    order = f"1 files number their classes in another order than {first}, such as"
    assert train.notes[0] == f"train: {order} {second}: labels are taken by name"
    assert val.notes[0].startswith(f"val: {order} {tmp_path}/val-00000")


def test_files_with_other_class_names_are_refused(tmp_path: Path) -> None:
    first, second = _lists(tmp_path, ["cat", "dog"], ["cat", "cow"])
    both = f"{second} has 2 classes and {first} 2, not the same ones: 'cow' is only in {second}"
    assert refused(tmp_path) == f"{both}: write both with the same list of names"
    write_parquet(second, [("a", b"a", 0)], named=False)
    assert f"{first} names its classes, and {second} does not" in refused(tmp_path)
    write_parquet(first, [("a", b"a", 0)], named=False)
    (val,) = _lists(tmp_path, ["cat"], split="val")
    assert f"{val} names its classes, and {first} does not" in refused(tmp_path, "val")


def test_number_beyond_the_files_own_list_is_refused(tmp_path: Path) -> None:
    _, second = _lists(tmp_path, ["cat", "dog"], ["dog", "cat"])
    write_parquet(second, [("a", b"a", 2)], names=["dog", "cat"])
    assert "has the label 2, but there are 2 class names" in refused(tmp_path)


_FILE = {"bytes": b"x", "path": "a.jpg"}


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"img": [b"x"], "fine_label": [0], "coarse_label": [5]}, {}),
        ({"jpg": [b"x"], "label": [0]}, {}),
        ({"image": [b"x"], "target": [0]}, {}),
        ({"image": ["a.jpg"], "image_bytes": [b"x"], "label": [0], "class_name": ["x"]}, {}),
        ({"image": [_FILE], "label": ["0"]}, {}),
        ({"images": [[_FILE]], "label": [0]}, {}),
        ({"images": [[b"x"]], "label": [0]}, {}),
        ({"image": [b"x"], "wnid": ["0"]}, {}),
        ({"thing": [b"x"], "kind": [0]}, {"image_column": "thing", "label_column": "kind"}),
        (
            {"image": [b"y"], "img": [b"x"], "label": [1], "target": [0]},
            {"image_column": "img", "label_column": "target"},
        ),
    ],
)  # fmt: skip
def test_usual_and_named_columns_are_read(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any]
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    assert _pairs(open_source(tmp_path, **options)) == [("x", "0")]


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (("image", "img", "label"), {}, "2 columns that may hold the images: pass --source.image_column=NAME"),
        (("image", "label", "fine_label"), {}, "column=NAME, one of label (int64), fine_label (int64)"),
        (("image", "label"), {"label_column": "kind"}, "{} has no column 'kind': pass --source.label_column="),
        (("image", "label"), {"image_column": "label"}, "column 'label' of {} is of type int64: images must be"),
    ],
)  # fmt: skip
def test_columns_that_are_unclear_are_refused_with_the_option(
    tmp_path: Path, columns: tuple[str, ...], options: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "train.parquet"
    parquet.write_table(pyarrow.table({name: [0] if "label" in name else [b"x"] for name in columns}), path)
    assert expected.format(path) in refused(tmp_path, **options)


def test_other_label_columns_are_noted(tmp_path: Path) -> None:
    table = pyarrow.table({"img": [b"x"], "fine_label": [0], "coarse_label": [0]})
    parquet.write_table(table, tmp_path / "train.parquet")
    said = "train: labels are from column 'fine_label'; --source.label_column takes another (coarse_label)"
    assert said in open_source(tmp_path).notes
    chosen = open_source(tmp_path, label_column="fine_label")
    assert len(chosen.notes) == 1 and "reading parquet" in chosen.notes[0]


@pytest.mark.parametrize(
    "kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary("int32", pyarrow.string())]
)
def test_text_labels_are_the_sorted_classes_of_train(tmp_path: Path, kind: Any) -> None:
    def write(name: str, *labels: str) -> Path:
        images = [label.encode() for label in labels]
        table = pyarrow.table({"image": images, "label": pyarrow.array(labels).cast(kind)})
        parquet.write_table(table, tmp_path / name, row_group_size=2)
        return tmp_path / name

    write("train-0.parquet", "dog", "cow", "dog")
    write("train-1.parquet", "ant", "dog")
    val = write("val-0.parquet", "dog", "ant")
    for split in ("train", "val"):
        source = open_source(tmp_path, "train" if split == "train" else "val")
        assert source.classes == ["ant", "cow", "dog"]
        assert all(content == name for content, name in _pairs(source))
    write("val-0.parquet", "dog", "eel", "fox")
    assert refused(tmp_path, "val") == (
        f"{val} has images of class 'eel' (and 1 more), of which train ({tmp_path}) has none: remove them, or add some "
        "to train"
    )


def test_text_and_numbers_in_one_data_set_are_refused(tmp_path: Path) -> None:
    for name, label in (("train-0", "0"), ("train-1", 0), ("val", 0)):
        parquet.write_table(pyarrow.table({"image": [b"x"], "label": [label]}), tmp_path / f"{name}.parquet")
    said = f"holds integers, and that of {tmp_path}/train-0.parquet class names"
    assert f"column 'label' of {tmp_path}/train-1.parquet {said}" in refused(tmp_path)
    assert f"column 'label' of {tmp_path}/val.parquet {said}" in refused(tmp_path, "val")


def test_val_naming_some_of_trains_classes_is_read_by_name_where_allowed(
    animals: Path, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "set/train-00000-of-00001.parquet", rows_of(animals / "train"))
    last = CLASSES[-1]
    rows = [(name, content, 0) for name, content, label in rows_of(animals / "val") if CLASSES[label] == last]
    write_parquet(tmp_path / "set/val-00000-of-00001.parquet", rows, names=[last])
    with pytest.raises(UserError, match="not the same ones"):
        open_source(tmp_path / "set", "val")
    val = open_source(tmp_path / "set", "val", val_classes="train")
    assert {val.classes[label] for label in val.labels} == {last}
    write_parquet(tmp_path / "set/val-00000-of-00001.parquet", rows, names=["unheard of"])
    with pytest.raises(UserError, match="images of class 'unheard of', of which train"):
        open_source(tmp_path / "set", "val", val_classes="train")


def test_extensions_of_a_source_that_needs_none_are_refused(animals: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_parquet(tmp_path / f"set/{split}-00000-of-00001.parquet", rows_of(animals / split))
    with pytest.raises(
        UserError, match=r"source.extensions: parquet images are taken whatever their names end with"
    ):
        open_splits(SourceConfig(path=str(tmp_path / "set"), extensions=".tif"))


def test_row_group_larger_than_memory_is_refused_before_it_is_read(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "train.parquet", rows_of(animals / "train"))
    source = open_source(tmp_path / "train.parquet")
    monkeypatch.setattr(parquet_file, "free_memory", lambda: 1000)
    parquet_file.row_group.cache_clear()
    with pytest.raises(
        UserError, match=r"row group 0 of .* holds .* free: write the file again with smaller row"
    ):
        source.read(0)
