"""Files that are used together have one class list; where they can't agree, the first difference is told."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.data.beton import layout
from engine.data.beton.manifest import Manifest
from engine.data.beton.pair import ClassList, agree_on_classes, class_doubts
from engine.data.beton.reader import Beton
from engine.errors import UserError


def _file(name: str, labels: Sequence[int], classes: Sequence[str] | None) -> Beton:
    """A file that says so of itself; without `classes` it is one of stock ffcv's."""
    manifest = classes and Manifest(
        split=name, classes=tuple(classes), ids=tuple(map(str, range(len(labels)))), source="test"
    )
    return Beton(
        path=Path(f"{name}.beton"),
        num_samples=len(labels),
        page_size=2**21,
        images=np.zeros(len(labels), layout.IMAGE),
        sizes=np.ones(len(labels), np.uint64),
        labels=np.array(labels, np.int64),
        manifest=manifest or None,
    )


def test_equal_class_lists_pass_with_empty_classes() -> None:
    pair = _file("train", [0, 1, 2], "abcd"), _file("val", [0], "abcd")
    assert agree_on_classes(*pair) == ClassList(4, ["a", "b", "c", "d"])
    assert agree_on_classes(pair[1]) == ClassList(4, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("train", "val", "difference"),
    [
        ("abc", "abd", "only in train: 'c'; only in val: 'd'"),
        ("abc", "ab", "only in train: 'c'"),
        ("abc", "acb", "the order differs: label 1 is 'b' in train and 'c' in val"),
    ],
)
def test_different_class_lists_are_refused_with_the_difference(train: str, val: str, difference: str) -> None:
    with pytest.raises(UserError) as caught:
        agree_on_classes(_file("train", [0], train), _file("val", [0], val))
    message = str(caught.value)
    assert "train.beton and val.beton" in message and difference in message and "\n" not in message


def test_files_without_names_count_their_labels() -> None:
    pair = _file("train", [0, 3], None), _file("val", [5, 1], None)
    assert agree_on_classes(*pair) == ClassList(6, None)
    assert agree_on_classes(*reversed(pair)) == ClassList(6, None)
    assert agree_on_classes(pair[0]) == ClassList(4, None)


@pytest.mark.parametrize("named", ["train", "val"])
def test_one_named_file_names_classes_of_both(named: str) -> None:
    pair = [_file(name, [0, 2], "abc" if name == named else None) for name in ("train", "val")]
    assert agree_on_classes(*pair) == ClassList(3, ["a", "b", "c"])


def test_label_without_a_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.beton or val.beton holds label 3, but only 3 classes"):
        agree_on_classes(_file("train", [0, 2], "abc"), _file("val", [3], None))


def test_file_without_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"val\.beton holds no images"):
        agree_on_classes(_file("train", [0], None), _file("val", [], None))
    empty = replace(_file("val", [], None), path=Path("elsewhere.beton"))
    with pytest.raises(UserError, match="elsewhere"):
        agree_on_classes(empty)


def test_doubtful_labels_without_names_are_noted() -> None:
    assert class_doubts(_file("train", [0, 1, 2, 0], None), _file("val", [2, 0], None)) == []
    assert class_doubts(_file("train", [0, 900], "ab"), _file("val", [3], "ab")) == []
    gap, count = class_doubts(_file("train", [0, 1, 771, 2], None), _file("val", [2, 0, 1], None))
    assert gap.startswith(
        "train.beton has images of 4 classes, and none with a label from 3 to 770 (sample 2 has 771)"
    )
    assert count.startswith(
        "train.beton has labels up to 771 and val.beton has labels up to 2, without class names"
    )
