"""CSV lists of images: which rows are taken, how labels become classes, and one line for each mistake."""

import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest

from engine.config.write import OutputConfig, SourceConfig, WriteConfig
from engine.data.beton.reader import open_beton
from engine.data.convert.conversion import convert
from engine.data.sources import Source
from engine.errors import UserError
from tests.data.conftest import jpeg_bytes, photo
from tests.data.sources.conftest import CLASSES
from tests.data.sources.forms import encoded, open_source, refused


def _write(folder: Path, train: str, val: str = "a.jpg,cat\nb.jpg,dog\n", encoding: str = "utf-8") -> Path:
    """Lists and the images a.jpg to d.jpg (each with its name as content) in a folder."""
    for name in "abcd":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    (folder / "train.csv").write_bytes(train.encode(encoding))
    (folder / "val.csv").write_bytes(val.encode(encoding))
    return folder


def _config(output: Path, path: Path, kind: str = "auto") -> WriteConfig:
    return WriteConfig(
        source=SourceConfig(path=str(path), kind=kind), output=OutputConfig(folder=str(output), num_workers=1)
    )


def _pairs(source: Source) -> list[tuple[str, str]]:
    """(content, class) of each image, in the source's order."""
    return [
        (encoded(source, number).decode(), source.classes[label])
        for number, label in enumerate(np.asarray(source.labels).tolist())
    ]


@pytest.mark.parametrize(
    "train",
    [
        "a.jpg,cat\nb.jpg,dog\n",
        "a.jpg,cat\r\nb.jpg,dog",
        "\ufeffa.jpg,cat\n\nb.jpg,dog\n\n",
        "a.jpg, cat \nb.jpg, dog\n",
        '"a.jpg","cat"\n"b.jpg","dog"\n',
        "path,label\na.jpg,cat\nb.jpg,dog\n",
        "\ufeffPath,Label\r\na.jpg,cat\r\nb.jpg,dog\r\n",
        "id,class_name,filename\n7,cat,a.jpg\n8,dog,b.jpg\n",
        "./a.jpg,cat\nx/../b.jpg,dog\n",
    ],
    ids=["plain", "crlf", "bom", "spaces", "quoted", "header", "bom-header", "columns", "dots"],
)
def test_rows_are_paths_and_labels(tmp_path: Path, train: str) -> None:
    source = open_source(_write(tmp_path, train))
    assert source.kind == "CSV list"
    assert _pairs(source) == [("a", "cat"), ("b", "dog")]
    assert (source.ids, source.classes) == (["a.jpg", "b.jpg"], ["cat", "dog"])
    assert source.where(1) == str(tmp_path / "b.jpg")


def test_quoted_and_unicode_names_are_kept(tmp_path: Path) -> None:
    for name in ("x, y.jpg", 'say "hi".jpg', "Füße 犬.jpg", "two\nlines.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    rows = '"x, y.jpg","a, b"\n"say ""hi"".jpg",犬\nFüße 犬.jpg,犬\n"two\nlines.jpg",犬\n'
    source = open_source(_write(tmp_path, rows))
    assert source.classes == ["a, b", "犬"]
    assert [name for name, _ in _pairs(source)] == list(source.ids)
    assert source.ids[2:] == ["Füße 犬.jpg", "two\nlines.jpg"]


@pytest.mark.parametrize("relative", [True, False])
def test_paths_may_be_absolute_or_lead_out_of_the_folder(
    tmp_path: Path, relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "far.jpg").write_bytes(b"far")
    far = "../far.jpg" if relative else str(tmp_path / "far.jpg")
    _write(tmp_path / "lists", f"{far},cat\n{tmp_path}/lists/a.jpg,dog\n")
    monkeypatch.chdir(tmp_path)
    source = open_source("lists")
    assert source.ids == [far, "a.jpg"], "what lies in the list's folder has the same id on every machine"
    assert _pairs(source) == [("far", "cat"), ("a", "dog")]


def test_reader_is_small_and_works_after_pickling(tmp_path: Path) -> None:
    source = open_source(_write(tmp_path, "a.jpg,cat\n"))
    packed = pickle.dumps(source.reader)
    assert len(packed) < 1000
    assert pickle.loads(packed).read("a.jpg") == b"a"


def test_lists_are_read_from_a_remote_folder() -> None:
    system = fsspec.filesystem("memory")
    for name, content in {"train.csv": "i/a.jpg,cat\n", "val.csv": "i/a.jpg,cat\n", "i/a.jpg": "a"}.items():
        system.pipe_file(f"/csv/{name}", content.encode())
    source = open_source("memory://csv", "val")
    assert (source.ids, source.read(0)) == (["i/a.jpg"], b"a")


@pytest.mark.parametrize(
    "path", ["{{train,val}}_v2.csv", "*_v2.csv", "lists"], ids=["braces", "star", "folder"]
)
def test_pattern_or_split_names_choose_the_lists(tmp_path: Path, path: str) -> None:
    _write(tmp_path, "a.jpg,cat\nb.jpg,dog\n")
    (tmp_path / "train.csv").rename(tmp_path / "train_v2.csv")
    (tmp_path / "val.csv").rename(tmp_path / "val_v2.csv")
    if path == "lists":
        options = {"train_folder": "train_v2", "val_folder": "val_v2"}
        found = [open_source(tmp_path, split, **options) for split in ("train", "val")]
    else:
        found = [open_source(tmp_path / path.format(), split) for split in ("train", "val")]
    assert [_pairs(source) for source in found] == [[("a", "cat"), ("b", "dog")]] * 2


def test_whole_numbers_are_labels_named_by_classes_txt(tmp_path: Path) -> None:
    _write(tmp_path, "a.jpg,10\nb.jpg,2\n")
    source = open_source(tmp_path)
    assert source.classes == [str(label) for label in range(11)] and list(source.labels) == [10, 2]
    (tmp_path / "classes.txt").write_text("\n".join(f"class {label}" for label in range(12)))
    assert open_source(tmp_path).classes[10:] == ["class 10", "class 11"]


@pytest.mark.parametrize("labels", [("007", "7"), ("0", "cat"), ("1.0", "2.0")])
def test_labels_that_are_not_all_whole_numbers_are_names(tmp_path: Path, labels: tuple[str, str]) -> None:
    source = open_source(_write(tmp_path, f"a.jpg,{labels[1]}\nb.jpg,{labels[0]}\n"))
    assert source.classes == sorted(labels) and list(source.labels) == [1, 0]


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("a.jpg,cat\na.jpg,dog\n", "train.csv lists a.jpg twice, in lines 1 and 2: remove one of them"),
        ("a.jpg,cat\n./a.jpg,cat\n", "train.csv lists ./a.jpg twice, in lines 1 and 2"),
        ("a.jpg,cat\n\nx.jpg,dog\ny/z.jpg,dog\n", "train.csv, line 3: there is no file x.jpg in "),
        ("a.jpg,cat\nx.jpg,dog\ny/z.jpg,dog\n", "(and 1 more): correct the paths"),
        ("picture,kind\na.jpg,cat\n", "; if this row has column names, they must be path and label"),
        ("a.jpg,cat\n.,dog\n", "line 2: there is no file . in "),
        ("a.jpg,cat\nb.jpg,\n", "train.csv, line 2 has no label (b.jpg): write one, or remove the row"),
        ("a.jpg,cat\nb.jpg,  \n", "line 2 has no label"),
        ("a.jpg,cat\n,dog\n", "line 2 has no path"),
        ("a.jpg,cat\nb.jpg\n", "train.csv, line 2 has 1 column, not 2: write `path,label`"),
        ("path,label,x\na.jpg,cat\n", "line 2 has 2 columns, not 3"),
        ("a, b.jpg,cat\n", "line 1 has 3 columns, not 2"),
        ("path,kind\na.jpg,cat\n", "line 1: none of the columns path, kind is for labels: name it label"),
        ('a.jpg,cat\n"b.jpg,dog\n', "train.csv, line 2: unexpected end of data: check the quotes"),
        ("", "train.csv lists no images"),
        ("path,label\n", "train.csv lists no images"),
        ("a.jpg,-1\n", "a.jpg in "),
        ("a.jpg,99999999\n", "has the label 99999999: put a classes.txt there"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(tmp_path: Path, train: str, expected: str) -> None:
    assert expected in refused(_write(tmp_path, train))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    said = refused(_write(tmp_path, "a.jpg,Tür\n", encoding="latin-1"))
    assert said == f"{tmp_path}/train.csv is not UTF-8 text (byte 7): save it as UTF-8"


def test_several_lists_of_one_split_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "a.jpg,cat\n")
    (tmp_path / "train-2.csv").write_text("b.jpg,cat\n", encoding="utf-8")
    said = refused(tmp_path / "*.csv")
    assert "has 2 lists of train, such as train-2.csv and train.csv: make one of them" in said


def test_listed_image_that_is_a_broken_link_is_missing(tmp_path: Path) -> None:
    _write(tmp_path, "a.jpg,cat\n")
    (tmp_path / "a.jpg").unlink(missing_ok=True)
    (tmp_path / "a.jpg").symlink_to("nowhere.jpg")
    assert "a.jpg" in refused(tmp_path)


def test_one_list_without_the_other_is_no_csv_source(tmp_path: Path) -> None:
    (_write(tmp_path, "a.jpg,cat\n") / "val.csv").unlink()
    assert "no folder 'train'" in refused(tmp_path)
    assert "is not what source.kind=csv needs: a folder with train.csv and val.csv" in refused(
        tmp_path, kind="csv"
    )


def test_class_folders_stay_an_image_folder_unless_csv_is_named(animals: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        os.symlink(animals / split, tmp_path / split)
    first = next((animals / "train").glob("*/*")).relative_to(animals)
    _write(tmp_path, f"{first},cat\n")
    assert open_source(tmp_path).kind == "image folder"
    named = open_source(tmp_path, kind="csv")
    assert (named.kind, named.ids, named.classes) == ("CSV list", [str(first)], ["cat"])


def test_kaggles_solution_beside_flat_images_is_not_a_list(tmp_path: Path, animals: Path) -> None:
    os.symlink(animals / "train", tmp_path / "train")
    (tmp_path / "val").mkdir()
    image = next((animals / "val").glob("*/*"))
    (tmp_path / "val/one.JPEG").write_bytes(image.read_bytes())
    (tmp_path / "LOC_val_solution.csv").write_text(
        f"ImageId,PredictionString\none,{image.parent.name} 1 2 3 4\n", encoding="utf-8"
    )
    assert open_source(tmp_path, "val").kind == "flat folder"


def test_list_of_val_classes_is_refused_where_val_has_labels(tmp_path: Path) -> None:
    _write(tmp_path, "a.jpg,cat\nb.jpg,dog\n")
    assert "source.val_labels: val has labels of its own (CSV list)" in refused(
        tmp_path, "val", val_labels=str(tmp_path / "val.csv")
    )


@pytest.mark.parametrize("kind", ["auto", "csv"])
def test_conversion_of_lists_is_that_of_the_folder(animals: Path, tmp_path: Path, kind: str) -> None:
    for split in ("train", "val"):
        files = sorted((animals / split).glob("*/*"))
        rows = "".join(f"{path},{path.parent.name}\n" for path in files)
        (tmp_path / f"{split}.csv").write_text(rows, encoding="utf-8")
    betons = [
        {split: open_beton(path) for split, path in convert(config).items()}
        for config in (
            _config(tmp_path / "one", animals),
            _config(tmp_path / "two", tmp_path, kind),
        )
    ]
    for split in betons[0]:
        ours, theirs = (both[split] for both in betons)
        assert ours.manifest is not None and theirs.manifest is not None
        assert theirs.manifest.classes == ours.manifest.classes == CLASSES
        assert [name.rsplit("/", 2)[-2:] for name in theirs.manifest.ids] == [
            name.split("/") for name in ours.manifest.ids
        ]
        assert theirs.checksums is not None and (theirs.checksums == ours.checksums).all()
        assert (theirs.labels == ours.labels).all()


def test_other_classes_in_val_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "a.jpg,cat\nb.jpg,cow\n")
    with pytest.raises(UserError, match="cow"):
        convert(_config(tmp_path / "out", tmp_path))


def test_columns_are_chosen_by_option(tmp_path: Path) -> None:
    rows = "id,photo,fine,coarse\n1,a.jpg,cat,pet\n2,b.jpg,cow,farm\n"
    _write(tmp_path, rows)
    for column, classes in (("fine", ["cat", "cow"]), ("Coarse", ["farm", "pet"])):
        source = open_source(tmp_path, image_column="photo", label_column=column)
        assert (source.classes, source.ids) == (classes, ["a.jpg", "b.jpg"])
    assert (
        "line 1: none of the columns id, photo, fine, coarse is 'kind': correct --source.label_column"
        in refused(tmp_path, label_column="kind")
    )
    assert "is for paths: name it path, or pass --source.image_column=NAME" in refused(
        tmp_path, label_column="fine"
    )
    assert "or pass --source.label_column=NAME" in refused(tmp_path, image_column="photo")


def test_two_columns_of_labels_must_divide_the_images_equally(tmp_path: Path) -> None:
    source = open_source(_write(tmp_path, "path,class_name,label\na.jpg,cat,1\nb.jpg,dog,0\nc.jpg,cat,1\n"))
    assert list(source.labels) == [1, 0, 1]
    _write(tmp_path, "path,class_name,label\na.jpg,cat,1\nb.jpg,dog,0\nc.jpg,cat,2\n")
    assert refused(tmp_path) == (
        f"{tmp_path}/train.csv has two columns of labels, label and class_name, which divide the images differently: "
        "pass --source.label_column=NAME"
    )
    assert open_source(tmp_path, label_column="class_name").classes == ["cat", "dog"]
    _write(tmp_path, "path,label,label\na.jpg,1,2\n")
    assert "train.csv, line 1 has the column label twice: rename one of them" in refused(tmp_path)


def test_numbers_in_another_column_than_trains_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "path,class_id\na.jpg,0\nb.jpg,1\n", "path,label\na.jpg,0\nb.jpg,1\n")
    said = f"{tmp_path}/val.csv has labels in column label, and {tmp_path}/train.csv in class_id, which may number"
    assert refused(tmp_path, "val").startswith(said)
    _write(tmp_path, "path,class_name\na.jpg,cat\n", "path,label\na.jpg,cat\n")
    assert open_source(tmp_path, "val").classes == ["cat"]


def test_classes_without_images_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = jpeg_bytes(photo(9, 9))
    _write(tmp_path, "a.jpg,1\nb.jpg,3\n", "a.jpg,1\nb.jpg,3\n")
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(image)
    convert(_config(tmp_path / "out", tmp_path))
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"note: {split}: 2 of 4 classes have no images, such as 0" for split in ("train", "val")
    ]
