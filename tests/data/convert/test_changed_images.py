"""An interrupted conversion is resumed only while its images are unchanged."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from engine.data.convert import partial_file
from engine.data.convert.duplicates import digest_of
from engine.data.sampling.order import file_permutation
from engine.data.sources import map_style
from engine.errors import UserError
from tests.data.conftest import jpeg_bytes, photo
from tests.data.conversions import converted

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def broken(pets: Path, tmp_path: Path) -> Path:
    """A source whose last training image is empty; in `out` val and 32 of train's 41 images are done."""
    (pets / "train/dog/zzz.jpg").touch()
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        converted(pets, tmp_path / "out")
    return pets


def _change(source: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (source / name).write_bytes(jpeg_bytes(photo(40, 50, 500 + number)))


@pytest.mark.parametrize("workers", [1, 2])
def test_all_images_changed_restarts_the_conversion(
    broken: Path, tmp_path: Path, capsys: Capture, workers: int
) -> None:
    _change(broken, *(str(path.relative_to(broken)) for path in sorted(broken.glob("*/*/0*.jpg"))))
    found = converted(broken, tmp_path / "out", {"empty": "skip"}, num_workers=workers)
    out = capsys.readouterr().out
    changed = f"{broken}/val/cat/000.jpg has changed since it was converted"
    assert f"val.beton.partial can't be resumed: {changed}" in out
    assert "train: restarting" in out and "resuming" not in out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_finished_image_grown_too_large_restarts_unread(
    broken: Path, tmp_path: Path, capsys: Capture
) -> None:
    # More than any machine's memory.
    os.truncate(broken / "train/cat/000.jpg", 2**42)
    rules = {"empty": "skip", "oversized": "skip"}
    converted(broken, tmp_path / "out", rules)
    out = capsys.readouterr().out
    assert "train/cat/000.jpg has changed since it was converted" in out and "oversized 1" in out


def test_changed_shuffled_images_restart_the_conversion(pets: Path, tmp_path: Path, capsys: Capture) -> None:
    (pets / "train/dog/zzz.jpg").touch()
    # Where the empty one, the last of 41, comes late enough for a chunk to be done before it.
    seed = next(seed for seed in range(99) if file_permutation(41, seed).tolist().index(40) >= 16)
    shuffled: dict[str, Any] = {"order": "shuffled", "seed": seed}
    with pytest.raises(UserError, match=r"train/dog/zzz\.jpg"):
        converted(pets, tmp_path / "out", **shuffled)
    assert "kept in" in capsys.readouterr().out
    _change(pets, *(str(path.relative_to(pets)) for path in sorted(pets.glob("train/*/0*.jpg"))))
    found = converted(pets, tmp_path / "out", {"empty": "skip"}, **shuffled)
    out = capsys.readouterr().out
    assert "train: restarting" in out and "val: restarting" not in out
    assert "has changed since it was converted" in out
    assert found == converted(pets, tmp_path / "fresh", {"empty": "skip"}, **shuffled)


@pytest.mark.parametrize("name", ["train/cat/000.jpg", "train/cat/016.jpg", "train/dog/006.jpg"])
def test_first_last_and_some_images_between_are_checked(
    broken: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    _change(broken, name)
    found = converted(broken, tmp_path / "out", {"empty": "skip"})
    out = capsys.readouterr().out
    assert f"{broken}/{name} has changed since it was converted" in out
    assert "val: restarting" not in out
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


def test_unchanged_images_resume_with_few_read_again(
    broken: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = [0]

    def counted(content: Any) -> bytes:
        read[0] += 1
        return digest_of(content)

    monkeypatch.setattr("engine.data.convert.journal.digest_of", counted)
    # As a copy of the data set has it: others times, the same content.
    copy = tmp_path / "copy"
    shutil.copytree(broken, copy, copy_function=shutil.copyfile)
    found = converted(copy, tmp_path / "out", {"empty": "skip"})
    assert "train: resuming at image 32 of 41" in capsys.readouterr().out
    assert read == [7 + partial_file.LOOKED_AT]
    assert found == converted(broken, tmp_path / "fresh", {"empty": "skip"})


class _Items:
    """A data set in Python whose pixels can be changed, and whose items can be made to fail."""

    def __init__(self) -> None:
        self.pixels = np.stack([photo(12, 16, seed) for seed in range(40)])
        self.targets = [number % 2 for number in range(40)]
        self.failing: set[int] = set()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index in self.failing:
            raise OSError("gone")
        return self.pixels[index], self.targets[index]


@pytest.fixture
def items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Items]:
    """`python:changing:splits`: val is as train; of train's, 16 or 32 images are done in `out`."""
    train, val = _Items(), _Items()
    module = ModuleType("changing")
    vars(module)["splits"] = {"train": train, "val": val}
    monkeypatch.setitem(sys.modules, "changing", module)
    train.failing = {36}
    with pytest.raises(UserError, match="item 36"):
        converted("python:changing:splits", tmp_path / "out")
    train.failing = set()
    yield train
    map_style._dataset.cache_clear()


def test_changed_pixels_of_python_data_set_restart_the_conversion(
    items: _Items, tmp_path: Path, capsys: Capture
) -> None:
    items.pixels[:36] = 255 - items.pixels[:36]
    found = converted("python:changing:splits", tmp_path / "out")
    assert (
        "item 0 of python:changing:splits 'train' has changed since it was converted"
        in capsys.readouterr().out
    )
    assert found == converted("python:changing:splits", tmp_path / "fresh")


def test_unreadable_finished_image_keeps_the_partial_file(
    items: _Items, tmp_path: Path, capsys: Capture
) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    items.failing = {31}
    with pytest.raises(UserError, match="cannot read item 31"):
        converted("python:changing:splits", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    items.failing = set()
    found = converted("python:changing:splits", tmp_path / "out")
    assert "train: resuming at image 32 of 40" in capsys.readouterr().out
    assert found == converted("python:changing:splits", tmp_path / "fresh")
