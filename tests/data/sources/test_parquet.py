"""Parquet files in the layouts of Hugging Face's hub give the images and labels written into them."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import UserError
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import contents, folder_contents, open_source, refused

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


def _table(**columns: Any) -> Callable[[Path], None]:
    return lambda path: parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            _table(image=[b"x"], name=["a"]),
            "has the columns image, name: it needs one of images (image or img)",
        ),
        (
            _table(image=[b"x"], label=["cat"]),
            "column 'label' of {} is of type string: labels must be integers",
        ),
        (_table(image=[b"x", b"y"], label=[1, None]), "column 'label' of {} has 1 rows without a label"),
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
