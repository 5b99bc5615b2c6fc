"""Images of the same content, and images that are skipped: counted, listed, left out or refused by rule."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import UserError
from tests.data.conversions import convert_and_open, stored_pixels


def _tree_of_copies(make_tree: Callable[..., Path]) -> Path:
    """a, b, c and an empty file; train has a and b twice, and a is in val as well."""
    a, b, c = (np.full((8, 8, 3), value, np.uint8) for value in (10, 90, 200))
    files = {"1a.png": a, "2b.png": b, "3a.png": a, "4b.png": b, "5c.png": c}
    pictures = {name: cv2.imencode(".png", pixels)[1].tobytes() for name, pixels in files.items()}
    train = {**pictures, "6.png": b""}
    return make_tree({"train": {"k": train}, "val": {"k": {"v.png": pictures["1a.png"]}}})


def test_skipped_image_is_listed_and_leaves_no_gap(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = _tree_of_copies(make_tree)
    train, _ = convert_and_open(root, tmp_path / "out", {"empty": "skip"}, format="raw", order="source")
    manifest = train.manifest
    assert manifest is not None
    assert manifest.ids == ("k/1a.png", "k/2b.png", "k/3a.png", "k/4b.png", "k/5c.png")
    assert manifest.source_numbers == (0, 1, 2, 3, 4)
    ((name, kind, reason),) = manifest.rejects
    assert (name, kind) == ("k/6.png", "empty") and reason
    assert manifest.counts["samples"] == train.num_samples == 5
    assert [stored_pixels(train, index)[0, 0, 0] for index in range(5)] == [10, 90, 10, 90, 200]


def test_kept_copies_are_counted_and_named(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    root = _tree_of_copies(make_tree)
    train, val = convert_and_open(root, tmp_path / "out", {"empty": "skip"}, format="raw", order="source")
    assert train.manifest is not None and val.manifest is not None
    assert train.manifest.duplicates == (
        ("k/1a.png", "val: k/v.png"),
        ("k/3a.png", "val: k/v.png"),
        ("k/3a.png", "k/1a.png"),
        ("k/4b.png", "k/2b.png"),
    )
    assert {kind: train.manifest.odd[kind] for kind in ("duplicate", "leak")} == {"duplicate": 2, "leak": 2}
    assert val.manifest.duplicates == () and "leak" not in val.manifest.odd


@pytest.mark.parametrize(
    ("rules", "ids", "kinds"),
    [
        ({"duplicate": "skip"}, "1 2 5", "duplicate duplicate empty"),
        ({"leak": "skip"}, "2 4 5", "leak leak empty"),
        ({"duplicate": "skip", "leak": "skip"}, "2 5", "leak leak duplicate empty"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_copies_follow_the_file_order(
    make_tree: Callable[..., Path], tmp_path: Path, rules: dict[str, str], ids: str, kinds: str, workers: int
) -> None:
    root = _tree_of_copies(make_tree)
    rules = {"empty": "skip"} | rules
    train, _ = convert_and_open(
        root, tmp_path / "out", rules, format="raw", order="source", num_workers=workers
    )
    assert train.manifest is not None
    assert [name[2] for name in train.manifest.ids] == ids.split()
    assert [kind for _, kind, _ in train.manifest.rejects] == kinds.split()
    values = {"1": 10, "2": 90, "3": 10, "4": 90, "5": 200}
    assert [stored_pixels(train, i)[0, 0, 0] for i in range(train.num_samples)] == [
        values[i] for i in ids.split()
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "duplicate",
            r"train/k/3a\.png: it has the same content as k/1a\.png: pass --rules\.duplicate=skip or",
        ),
        (
            "leak",
            r"train/k/1a\.png: it has the same content as val: k/v\.png: pass --rules\.leak=",
        ),
    ],
)
def test_copies_with_rule_fail_end_the_conversion(
    make_tree: Callable[..., Path], tmp_path: Path, rule: str, expected: str
) -> None:
    root = _tree_of_copies(make_tree)
    with pytest.raises(UserError, match=expected):
        convert_and_open(root, tmp_path / "out", {"empty": "skip", rule: "fail"}, order="source")


def test_split_with_all_images_skipped_is_refused(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    root = make_tree({"train": {"k": {"1.jpg": good}}, "val": {"k": {"1.jpg": b"", "2.jpg": b""}}})
    with pytest.raises(UserError, match=r"all 2 images of val were left out by rules\.\(empty\)"):
        convert_and_open(root, tmp_path / "out", {"empty": "skip"})
