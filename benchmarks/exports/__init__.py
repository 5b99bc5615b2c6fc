"""The images of a .beton in the layouts that other loaders read: the very same JPEG bytes, one file for each layout.

Made once, beside the .beton, and again when that has changed. The names of the layouts count as storages
(benchmarks.images.prepare).
"""

import importlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.beton import open_beton
from engine.errors import describe_os_error


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which the images can lie."""

    module: str
    """Has `write(beton: Path, folder: Path)`, which fills an empty folder."""
    words: str
    """What it is, for the data's identity."""


EXPORTS = {
    "files": Layout(
        module="benchmarks.exports.files", words="one JPEG file each, in a folder for each class"
    ),
    "webdataset": Layout(
        module="benchmarks.exports.webdataset", words="tar shards, as webdataset reads them"
    ),
    "litdata": Layout(module="benchmarks.exports.litdata", words="chunks, as litdata reads them"),
}

# Storage of the .beton that all of them are made from: the images' own JPEG data, wherever they fit.
SOURCE = "jpeg-kept"

_DONE = "of"


def export_folder(beton: Path, layout: str) -> Path:
    """Where the images of that file are kept in that layout, whether or not they are there yet."""
    return beton.with_suffix(f".{layout}")


def export(beton: Path, checksum: str, layout: str) -> Path:
    """The folder with the images in that layout, written unless it is there; `checksum`: of the .beton.

    Raises UserError where it can't be written, and what the layout's module raises.
    """
    folder = export_folder(beton, layout)
    done = folder / _DONE
    try:
        if done.exists() and done.read_text(encoding="ascii") == checksum:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            work = Path(name, "work")
            work.mkdir()
            importlib.import_module(EXPORTS[layout].module).write(beton, work)
            (work / _DONE).write_text(checksum, encoding="ascii")
            work.rename(folder)
    except OSError as error:
        raise describe_os_error(error, folder, "write into") from None
    return folder


def exported_files(folder: Path) -> list[Path]:
    """The files with the images."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _DONE)


def jpegs(beton: Path) -> Iterator[tuple[bytes, int]]:
    """JPEG data and label of each sample of a .beton of JPEGs, in its order."""
    opened = open_beton(beton)
    memory = opened.memory()
    places = zip(opened.images["data_ptr"].tolist(), opened.sizes.tolist(), strict=True)
    for (start, size), label in zip(places, opened.labels.tolist(), strict=True):
        yield memory[start : start + size].tobytes(), label
