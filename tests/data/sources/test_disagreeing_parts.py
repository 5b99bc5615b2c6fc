"""Random data sets whose parts may disagree: each is read right to the last label, or refused.

An image's content is the name of its class and a number, so what a source gives can be told from what was meant,
without a second reader. Data sets whose parts agree in all must not be refused.
"""

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.beton.manifest import check_same_classes
from engine.data.sources import Split
from engine.errors import UserError
from tests.data.sources.forms import encoded, idx_bytes, open_source, write_tar

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["cow", "ant", "dog", "bee"]
"""The classes, in the order in which numbers without names mean them."""

SPLITS: tuple[Split, ...] = ("train", "val")

Part = list[tuple[str, int]]
"""(class, number) of each image in a file."""


@dataclass(frozen=True)
class Sets:
    """The images of both splits, file by file, and how the files are written."""

    train: list[Part]
    val: list[Part]
    agree: bool
    """Whether all parts are written alike, and none is left out."""

    def parts(self) -> list[tuple[Split, int, Part]]:
        """Every file: its split, its number in it, its images."""
        parts = {"train": self.train, "val": self.val}
        return [(split, number, part) for split in SPLITS for number, part in enumerate(parts[split])]


@st.composite
def _sets(draw: Callable[..., Any], most: int = 3) -> Sets:
    numbers = iter(range(1000))

    def files(count: int) -> list[Part]:
        # All classes are in the first file: then train and val differ in no class by chance.
        sizes = [draw(st.integers(1, 3)) for _ in range(count - 1)]
        other = [[draw(st.sampled_from(NAMES)) for _ in range(size)] for size in sizes]
        return [[(name, next(numbers)) for name in part] for part in (NAMES, *other)]

    train, val = (files(draw(st.integers(1, most))) for _ in SPLITS)
    return Sets(train, val, agree=draw(st.booleans()))


def _content(image: tuple[str, int]) -> bytes:
    return f"{image[0]}#{image[1]}".encode()


def _check(root: Path, sets: Sets, meaning: Callable[[str], str]) -> bool:
    """Whether the data set is read; asserts that every image is there then, in the class that is meant.

    `meaning` makes the name in `NAMES` of a class name as the source gives it.
    """
    try:
        found = {split: open_source(root, split) for split in SPLITS}
        check_same_classes(found["train"].classes, found["val"].classes, str(root))
    except UserError as error:
        assert not sets.agree, f"refused although all parts agree: {error}"
        assert len(str(error).splitlines()) == 1
        return False
    for split, source in found.items():
        contents = [encoded(source, index) for index in range(len(source))]
        assert Counter(contents) == Counter(
            _content(image) for one, _, part in sets.parts() if one == split for image in part
        )
        for content, label in zip(contents, source.labels, strict=True):
            assert meaning(source.classes[label]) == content.decode().split("#")[0]
    return True


def _by_number(name: str) -> str:
    return NAMES[int(name)] if name.isdecimal() else name


@dataclass(frozen=True)
class Columns:
    """How one parquet file is written."""

    order: tuple[str, ...] = tuple(NAMES)
    """Number -> class."""
    is_named: bool = True
    kind: str = "int64"
    image: str = "image"
    label: str = "label"
    style: str = "struct"
    extra: str = ""
    """A further column with other labels."""


_ORDERS = st.one_of(st.permutations(NAMES).map(tuple), st.just((*NAMES, "eel")), st.just(("eel", *NAMES)))
_COLUMNS = st.builds(
    Columns,
    order=_ORDERS,
    is_named=st.booleans(),
    kind=st.sampled_from(["int64", "int64", "uint8", "int32", "string", "large_string", "dictionary"]),
    image=st.sampled_from(["image", "image", "img", "jpg"]),
    label=st.sampled_from(["label", "label", "labels", "target", "fine_label"]),
    style=st.sampled_from(["struct", "binary", "list"]),
    extra=st.sampled_from(["", "", "coarse_label", "targets"]),
)


def _write_parquet(path: Path, part: Part, how: Columns) -> None:
    # Without names, a number can only mean what it means everywhere.
    order = list(how.order) if how.is_named or "int" not in how.kind else NAMES
    labels: Any = [name if "int" not in how.kind else order.index(name) for name, _ in part]
    kind = pyarrow.dictionary("int8", "string") if how.kind == "dictionary" else how.kind
    images: Any = [_content(image) for image in part]
    if how.style != "binary":
        images = [{"bytes": content, "path": "a.jpg"} for content in images]
    if how.style == "list":
        images = [[image] for image in images]
    columns = {how.image: images, how.label: pyarrow.array(labels).cast(kind)}
    if how.extra:
        columns[how.extra] = [number % 2 for _, number in part]
    table = pyarrow.table(columns)
    if how.is_named and "int" in how.kind:
        features = {how.label: {"names": order, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=2)


def _name(split: str, number: int, count: int, is_counted: bool) -> str:
    return f"{split}-{number:05d}-of-{count:05d}" if is_counted else f"{split}-{number:02d}"


def _write_counts(root: Path, sets: Sets, wrong: int = 0) -> None:
    splits = {
        split: {"num_examples": sum(map(len, parts)) + wrong}
        for split, parts in (("train", sets.train), ("val", sets.val))
    }
    (root / "dataset_info.json").write_text(json.dumps({"splits": splits}), encoding="utf-8")


def _parquet(sets: Sets, data: st.DataObject) -> None:
    same = data.draw(_COLUMNS.filter(lambda how: how.extra != "targets"))
    # Some parts are written in another way, in one respect or in all.
    other = st.one_of(
        st.just(same), st.just(same), _ORDERS.map(lambda order: replace(same, order=order)), _COLUMNS
    )
    is_counted, leave_out = data.draw(st.booleans()), not sets.agree and data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        for split, number, part in sets.parts():
            how = same if sets.agree else data.draw(other)
            count = len(sets.train if split == "train" else sets.val)
            if leave_out and data.draw(st.booleans()):
                continue
            _write_parquet(Path(folder) / f"{_name(split, number, count, is_counted)}.parquet", part, how)
        # Of 00, 01, ... only a count says that the last is missing.
        if not is_counted:
            _write_counts(Path(folder), sets)
        _check(Path(folder), sets, _by_number)


def _webdataset(sets: Sets, data: st.DataObject) -> None:
    same = data.draw(st.sampled_from(["cls", "json", "both"]))
    key = data.draw(st.sampled_from(["{}", "k/{}", "k.{}", "{}.left"]))
    is_counted, has_names = data.draw(st.booleans()), data.draw(st.booleans())
    odd = (
        () if sets.agree else data.draw(st.sets(st.sampled_from(["part", "label", "names", "count", "dots"])))
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, number, part in sets.parts():
            count = len(sets.train if split == "train" else sets.val)
            if "part" in odd and data.draw(st.booleans()):
                continue
            style = same if sets.agree else data.draw(st.sampled_from(["cls", "json", "both"]))
            files: list[tuple[str, bytes]] = []
            for image in part:
                label = NAMES.index(image[0])
                wrong = (
                    (label + 1) % 4
                    if "label" in odd and style == "both" and data.draw(st.booleans())
                    else label
                )
                is_dotted = "dots" in odd and data.draw(st.booleans())
                name = (f"k.{{}}.{image[1] % 2}" if is_dotted else key).format(image[1])
                files += [(f"{name}.jpg", _content(image))]
                files += [(f"{name}.cls", str(label).encode())] * (style != "json")
                files += [(f"{name}.json", json.dumps({"label": wrong}).encode())] * (style != "cls")
            write_tar(root / f"{_name(split, number, count, is_counted)}.tar", files)
        if has_names:
            (root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
            names = sorted(NAMES) if "names" in odd else NAMES
            (root / "class_names.txt").write_text("\n".join(names), encoding="utf-8")
        if "count" in odd or not is_counted:
            _write_counts(root, sets, wrong="count" in odd)
        was_read = _check(root, sets, _by_number)
        assert not (was_read and ("count" in odd or (has_names and "names" in odd)))


def _csv(sets: Sets, data: st.DataObject) -> None:
    columns = ["label", "class", "target", "target", ""]
    has_names, is_number, same = (
        data.draw(st.booleans()),
        data.draw(st.booleans()),
        data.draw(st.sampled_from(columns)),
    )
    used = {split: same if sets.agree else data.draw(st.sampled_from(columns)) for split in SPLITS}
    # Another column may number the classes differently.
    may_turn = not has_names and all(used.values())
    turns = {name: data.draw(st.integers(0, 1)) if may_turn else 0 for name in columns}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, _, part in sets.parts():
            column, turn = used[split], turns[used[split]]
            further = "" if sets.agree or not column else data.draw(st.sampled_from(["", "category"]))
            numeric = is_number if sets.agree else is_number ^ (data.draw(st.integers(0, 5)) == 5)
            rows = [f"path,{column},{further}".rstrip(",")] if column else []
            for image in part:
                (root / f"{image[1]}.jpg").write_bytes(_content(image))
                label = str((NAMES.index(image[0]) + turn) % 4) if numeric else image[0]
                rows.append(f"{image[1]}.jpg,{label}" + (f",{image[1] % 2}" if further else ""))
            (root / f"{split}.csv").write_text("\n".join(rows), encoding="utf-8")
        if has_names:
            (root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
        turn = turns[used["train"]]
        _check(root, sets, lambda name: NAMES[(int(name) - turn) % 4] if name.isdecimal() else name)


def _idx(data: st.DataObject, agree: bool) -> None:
    """Here an image's pixels are its label."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for prefix in ("train", "t10k", *([] if agree else data.draw(st.sampled_from([[], ["test"]])))):
            # An images' file of one download with a labels' file of another could not be told from an unpacked one.
            is_whole, shift = agree or data.draw(st.booleans()), 0 if agree else data.draw(st.integers(0, 1))
            for ending in (".gz", "") if data.draw(st.booleans()) else ("",):
                shift += 0 if agree or not is_whole else data.draw(st.integers(0, 1))
                labels = (np.arange(12) + shift) % 10
                images = np.repeat(labels, 6).reshape(12, 2, 3)
                cut = 12 if agree else data.draw(st.sampled_from([12, 12, 11]))
                for name, values in (("images-idx3", images), ("labels-idx1", labels[:cut])):
                    if is_whole or data.draw(st.integers(0, 3)):
                        raw = idx_bytes(values.astype(np.uint8))
                        path = root / f"{prefix}-{name}-ubyte{ending}"
                        path.write_bytes(gzip.compress(raw, 1) if ending else raw)
        try:
            found = [open_source(root, split, kind="idx") for split in SPLITS]
        except UserError as error:
            assert not agree, f"refused although all files agree: {error}"
            return
        for source in found:
            assert [int(np.asarray(source.read(i))[0, 0]) for i in range(12)] == list(source.labels)


def _class_folders(sets: Sets, data: st.DataObject) -> None:
    """As folders or in one tar; a class of a split may be gone, renamed, hidden or a link that leads nowhere."""
    is_tar, odd = data.draw(st.booleans()), ["gone", "renamed", "hidden", *([] if sets.agree else ["link"])]
    with tempfile.TemporaryDirectory() as folder:
        root, files = Path(folder), list[tuple[str, bytes]]()
        for split, _, part in sets.parts():
            turned = "" if sets.agree else data.draw(st.sampled_from(["", *NAMES]))
            how = data.draw(st.sampled_from(odd)) if turned else ""
            for name, number in part:
                place = (
                    {"renamed": f"{name}x", "hidden": f".{name}"}.get(how, name) if name == turned else name
                )
                if name == turned and how == "link" and not is_tar:
                    (root / split).mkdir(exist_ok=True)
                    if not (root / split / name).exists() and not (root / split / name).is_symlink():
                        (root / split / name).symlink_to("/nowhere")
                elif not (name == turned and how in ("gone", "link")):
                    files.append((f"{split}/{place}/{number}.jpg", _content((place, number))))
        # What is hidden is left out, and said: the rest has to agree.
        shown = [(name, content) for name, content in files if "/." not in name]
        for name, content in files:
            if not is_tar and not (root / name).parent.is_symlink():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
        if is_tar:
            write_tar(root / "set.tar", files)
        try:
            found = {split: open_source(root / "set.tar" if is_tar else root, split) for split in SPLITS}
            check_same_classes(found["train"].classes, found["val"].classes, folder)
        except UserError as error:
            assert not sets.agree, f"refused although all parts agree: {error}"
            return
        for split, source in found.items():
            contents = [encoded(source, index) for index in range(len(source))]
            assert sorted(contents) == sorted(content for name, content in shown if name.startswith(split))
            for content, label in zip(contents, source.labels, strict=True):
                assert source.classes[label] == content.decode().split("#")[0]
            hidden = [name for name, _ in files if name.startswith(f"{split}/.")]
            assert not hidden or any("hidden" in note for note in source.notes)


def _flat_list(sets: Sets, data: st.DataObject) -> None:
    """Validation images without folders, and a list whose lines may be gone, twice, of others or of no class."""
    odd = "" if sets.agree else data.draw(st.sampled_from(["", "gone", "twice", "more", "unknown"]))
    with tempfile.TemporaryDirectory() as folder:
        root, lines = Path(folder), list[str]()
        for split, _, part in sets.parts():
            for name, number in part:
                place = root / split / (name if split == "train" else "") / f"{number}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(_content((name, number)))
                if split == "val":
                    lines.append(f"{number}.jpg {name}")
        lines = data.draw(st.permutations(lines))
        changed = {
            "gone": lines[1:],
            "twice": [*lines, lines[0]],
            "more": [*lines, "other.jpg cow"],
            "unknown": [f"{lines[0].split()[0]} eel", *lines[1:]],
        }
        (root / "val_labels.txt").write_text("\n".join(changed.get(odd, lines)), encoding="utf-8")
        assert _check(root, replace(sets, agree=not odd), _by_number) == (not odd)


FORMS: dict[str, Callable[[], Any]] = {
    "parquet": lambda: given(_sets(), st.data())(_parquet),
    "webdataset": lambda: given(_sets(), st.data())(_webdataset),
    "csv": lambda: given(_sets(most=1), st.data())(_csv),
    "class folders": lambda: given(_sets(most=1), st.data())(_class_folders),
    "flat list": lambda: given(_sets(most=1), st.data())(_flat_list),
    "idx": lambda: given(st.data(), st.booleans())(_idx),
}


@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_disagreeing_parts_are_read_right_or_refused(form: str, times: int) -> None:
    examples = 15 if form == "parquet" else 40
    settings(max_examples=times * examples, deadline=None)(FORMS[form]())()
