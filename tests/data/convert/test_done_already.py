"""A finished conversion given again is done; other settings, images or files of others are refused with the reason."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from tests.data.conftest import jpeg_bytes, photo
from tests.data.conversions import convert_here, names

Capture = pytest.CaptureFixture[str]
RULES = {"empty": "skip", "duplicate": "skip", "damaged": "skip"}


@pytest.fixture
def done(pets: Path, tmp_path: Path) -> Path:
    """A source with an empty, a damaged and a twice given image, converted to `out`."""
    (pets / "train/dog/zzz.jpg").touch()
    (pets / "train/cat/zzz.jpg").write_bytes(jpeg_bytes(photo(60, 60))[:900])
    shutil.copy(pets / "train/cat/003.jpg", pets / "train/dog/again.jpg")
    convert_here(pets, tmp_path / "out", RULES)
    return pets


def _again(source: Path, out: Path, rules: dict[str, str] | None = None, **options: Any) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    try:
        convert_here(source, out, RULES | (rules or {}), **options)
    finally:
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before


def test_finished_conversion_given_again_is_done(done: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    copy = shutil.copytree(done, tmp_path / "copy")
    for source in (done, copy):
        capsys.readouterr()
        _again(source, out, num_workers=2)
        assert (
            f"both files in {out} are complete already (the same source and settings): nothing is left to do\n"
            in capsys.readouterr().out
        )


def test_finished_shard_given_again_is_done(pets: Path, tmp_path: Path, capsys: Capture) -> None:
    for _ in range(2):
        convert_here(pets, tmp_path / "out", shard="2/3")
    assert "are complete already" in capsys.readouterr().out
    assert names(tmp_path / "out") == ["train.2-of-3.beton", "val.2-of-3.beton"]


@pytest.mark.parametrize(
    ("options", "rules", "why"),
    [
        ({"seed": 1}, {}, "it was made with output.seed=0, not 1"),
        ({"format": "raw"}, {}, "it was made with output.format=jpeg, not raw"),
        ({"order": "source"}, {}, "it was made with output.order=shuffled, not source"),
        ({"license": "x"}, {}, "it was made with output.license=, not x"),
        ({}, {"exif": "apply"}, "it was made with rules.exif=ignore, not apply"),
    ],
)
def test_other_settings_are_refused_with_the_first(
    done: Path, tmp_path: Path, options: dict[str, Any], rules: dict[str, str], why: str
) -> None:
    with pytest.raises(
        UserError, match=rf"val\.beton exists already: {why}; choose another --output\.folder"
    ):
        _again(done, tmp_path / "out", rules, **options)


def test_other_version_is_refused(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", "0.1")
    with pytest.raises(UserError, match=r"it was made with version of pillow=[\d.]+, not 0\.1; choose"):
        _again(done, tmp_path / "out")


def _remove(source: Path) -> None:
    (source / "train/dog/002.jpg").unlink()


def _change(source: Path) -> None:
    for path in sorted(source.glob("train/cat/0*.jpg")):
        path.write_bytes(jpeg_bytes(photo(50, 50, int(path.stem) + 99)))


def _move(source: Path) -> None:
    (source / "train/dog/002.jpg").rename(source / "train/cat/999.jpg")


def _repair(source: Path) -> None:
    (source / "train/cat/zzz.jpg").write_bytes(jpeg_bytes(photo(60, 60)))


def _damage(source: Path) -> None:
    for path in sorted(source.glob("train/cat/0*.jpg")):
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (_remove, "it was made of other images"),
        (_move, "it was made of other images"),
        (_change, "its images have changed since"),
        (_repair, "its images have changed since"),
        (_damage, "its images have changed since"),
    ],
)
def test_other_images_are_refused(done: Path, tmp_path: Path, edit: Any, why: str) -> None:
    edit(done)
    with pytest.raises(UserError, match=rf"train\.beton exists already: {why}; choose another"):
        _again(done, tmp_path / "out")


def test_damaged_or_single_file_is_refused(done: Path, tmp_path: Path) -> None:
    path = tmp_path / "out/train.beton"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train\.beton exists already: choose another"):
        _again(done, tmp_path / "out")
    path.unlink()
    with pytest.raises(UserError, match=r"val\.beton exists already: choose another"):
        _again(done, tmp_path / "out")
