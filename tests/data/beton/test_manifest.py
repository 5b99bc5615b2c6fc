"""What a file says about itself survives the round trip, whatever the names; class lists are compared."""

import json
import zlib

import pytest

from engine.data.beton.manifest import Manifest, check_same_classes
from engine.errors import UserError


def _manifest(**changes: object) -> Manifest:
    values: dict[str, object] = {
        "split": "train",
        "classes": ("Katze 🐈", "dog"),
        "ids": ("Katze 🐈/1.jpg", "dog/\udcff.jpg"),
        "source": "image folder",
        "settings": {"format": "jpeg", "jpeg_quality": 90},
        "versions": {"numpy": "2"},
        "counts": {"samples": 2, "jpeg": 2, "raw": 0},
        "created_by": "a test",
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def test_manifest_round_trip_keeps_any_name() -> None:
    manifest = _manifest()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_equal_content_gives_equal_bytes() -> None:
    turned = _manifest(settings={"jpeg_quality": 90, "format": "jpeg"})
    assert turned.to_bytes() == _manifest().to_bytes()


def test_keys_of_later_versions_are_ignored() -> None:
    content = json.loads(zlib.decompress(_manifest().to_bytes())) | {"weather": [1, 2]}
    assert Manifest.from_bytes(zlib.compress(json.dumps(content).encode())) == _manifest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not compressed",
        zlib.compress(b"not JSON"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"classes": "ab", "ids": []}'),
        zlib.compress(b'{"classes": [], "ids": [1]}'),
        zlib.compress(b'{"classes": [], "ids": []}'),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_bytes(data)


def test_equal_class_lists_pass() -> None:
    check_same_classes(["a", "b"], ("a", "b"), "x")


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (["a", "b"], ["a"], "only in train: 'b'"),
        (["a"], ["a", "b"], "only in val: 'b'"),
        (["a", "x"], ["a", "y"], "only in train: 'x'; only in val: 'y'"),
        (["a", "b"], ["b", "a"], "label 0 is 'a' in train and 'b' in val"),
        (list("abcdefg"), ["a"], "'b', 'c', 'd' and 3 more"),
    ],
)
def test_different_class_lists_are_named(train: list[str], val: list[str], expected: str) -> None:
    with pytest.raises(UserError, match="different classes in /data") as caught:
        check_same_classes(train, val, "/data")
    assert expected in str(caught.value)
