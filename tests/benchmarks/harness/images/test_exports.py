"""Layouts of other loaders: the same bytes, written once."""

from pathlib import Path

from benchmarks.harness.images import exports
from benchmarks.harness.images.prepared import Images, prepare

IMAGES = 24


def files() -> list[Path]:
    images: Images = prepare(None, "files", IMAGES)
    return images.files


def test_layouts_hold_the_same_bytes_as_the_records(cache: Path) -> None:
    source = prepare(None, exports.SOURCE, IMAGES)
    records = [jpeg for jpeg, _ in exports.jpegs(source.beton)]
    assert all(jpeg.startswith(b"\xff\xd8") for jpeg in records)
    for layout in ("files", "webdataset"):
        images = prepare(None, layout, IMAGES)
        assert images.beton == source.beton
        assert exports.EXPORTS[layout].words in images.identity
        written = b"".join(path.read_bytes() for path in images.files)
        assert sum(written.count(jpeg) for jpeg in records) == IMAGES, layout
    assert [path.read_bytes() for path in sorted(files(), key=lambda path: path.name)] == records


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
