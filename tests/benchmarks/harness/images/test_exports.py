"""Layouts of other loaders: the same bytes, written once."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks.harness.images import exports
from benchmarks.harness.images.prepared import prepare

IMAGES = 24


@pytest.mark.parametrize("layout", exports.EXPORTS)
def test_layout_holds_the_same_bytes_as_the_records(layout: str, cache: Path) -> None:
    if layout == "litdata" and importlib.util.find_spec("litdata") is None:
        pytest.skip("litdata is not installed")
    source = prepare(None, exports.SOURCE, IMAGES)
    records = [jpeg for jpeg, _ in exports.jpegs(source.beton)]
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in records)
    images = prepare(None, layout, IMAGES)
    assert images.beton == source.beton
    assert exports.EXPORTS[layout].words in images.identity
    written = b"".join(path.read_bytes() for path in images.files)
    assert sum(written.count(jpeg) for jpeg in records) == IMAGES


def test_single_files_are_in_the_order_of_the_records(cache: Path) -> None:
    images = prepare(None, "files", IMAGES)
    assert images.folder is not None
    paths, labels = exports.paths_and_labels(images.folder)
    found = [(path.read_bytes(), label) for path, label in zip(paths, labels, strict=True)]
    assert found == list(exports.jpegs(images.beton))


def test_layout_is_rewritten_only_for_a_changed_source(cache: Path, tmp_path: Path) -> None:
    source = prepare(None, exports.SOURCE, IMAGES)
    beton = tmp_path / "train.beton"
    beton.write_bytes(source.beton.read_bytes())
    folder = exports.export(beton, "first", "files")
    (folder / "mark").write_text("still here")
    assert exports.export(beton, "first", "files") == folder
    assert (folder / "mark").exists()
    assert exports.export(beton, "second", "files") == folder
    assert not (folder / "mark").exists()
    assert len([path for path in exports.exported_files(folder) if path.suffix == ".jpg"]) == IMAGES
