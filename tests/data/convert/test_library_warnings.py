"""Warnings of libraries never reach stderr: they are counted, and the first is told with its image."""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from engine.data.convert.record import RecordSettings, make_record
from engine.data.decode.library_warnings import library_warnings
from engine.data.sources import map_style
from engine.data.storage import RAW
from tests.data.conversions import convert_here
from tests.data.odd_files import jpeg, picture, save

Capture = pytest.CaptureFixture[str]

SETTINGS = RecordSettings(max_resolution=0, short_side=0, jpeg_quality=90, max_bytes=2**23)

# EXIF data whose one entry leads behind their end, of which Pillow warns.
CORRUPT = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\xff\xff\0\0\0\x1a"


@pytest.mark.parametrize("workers", [1, 2])
def test_warned_images_are_counted_and_the_first_named(
    make_tree: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    train = {"0.jpg": jpeg(), "1.jpg": jpeg(seed=1, exif=CORRUPT), "2.jpg": jpeg(seed=2, exif=CORRUPT)}
    root = make_tree({"train": {"a": train}, "val": {"a": {"v.jpg": jpeg(seed=9)}}})
    convert_here(root, tmp_path / "out", order="source", num_workers=workers)
    out, err = capfd.readouterr()
    assert f"  libraries warned of 2 images, such as {root}/train/a/1.jpg: UserWarning: " in out
    assert out.count("libraries warned") == 1
    assert "Warning" not in err


def test_warnings_of_a_python_data_set_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Items:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[bytes, int]:
            warnings.warn(f"item {index}\nis odd", stacklevel=1)
            logging.getLogger("reader").warning("strip %d", index)
            return jpeg(seed=index), 0

    module = ModuleType("warning_sets")
    vars(module)["splits"] = {"train": Items(), "val": Items()}
    monkeypatch.setitem(sys.modules, "warning_sets", module)
    convert_here("python:warning_sets:splits", tmp_path / "out", order="source")
    map_style._dataset.cache_clear()
    out, err = capfd.readouterr()
    assert (
        "note: train: while its labels were read, 6 warnings were given, such as UserWarning: item 0 is odd"
        in out
    )
    assert (
        "libraries warned of 2 images, such as item 0 of python:warning_sets:splits 'train': UserWarning"
        in out
    )
    assert "odd" not in err and "strip" not in err


def test_libtiff_is_silent_about_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    content = save(picture(), "TIFF", compression="tiff_lzw")
    damaged = 0
    for at in range(8, len(content), 5):
        changed = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        with library_warnings():
            damaged += "damaged" in make_record(changed, "a.tif", RAW.mode, SETTINGS).odd
    assert damaged
    assert capfd.readouterr().err == ""


def test_everything_is_as_before_behind_the_block(capsys: Capture) -> None:
    filters, handlers = list(warnings.filters), list(logging.getLogger().handlers)
    with pytest.raises(KeyError), library_warnings() as said:
        warnings.warn("a\n b", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.getLogger("x.y").error("c %s", 1)
        logging.getLogger("x.y").info("d")
        raise KeyError
    assert said == ["UserWarning: a b", "x.y: c 1"]
    assert (list(warnings.filters), list(logging.getLogger().handlers)) == (filters, handlers)
