"""The images of a .beton in the layouts that other loaders read: the same JPEG bytes as files, tar shards or chunks.

A layout is written once, beside the .beton, and again when that has changed. Layouts count as storages
(benchmarks.harness.images.prepared).
"""

import importlib
import io
import multiprocessing
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.data.beton.reader import open_beton
from engine.errors import UserError, describe_os_error

# Storage of the .beton that all layouts are made from: the images' own JPEG data, wherever they fit.
SOURCE = "jpeg-kept"

_DONE = "of"
# webdataset: each of a few workers gets shards.
_LEAST_SHARDS, _MOST_SHARDS, _IMAGES_EACH = 8, 128, 512
# litdata: the size it recommends, or eight chunks where that would be fewer.
_CHUNK = "64MB"
_LEAST_CHUNKS = 8


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layout of the images."""

    write: Callable[[Path, Path], None]
    """Called with the .beton and an empty folder, which it fills."""
    words: str
    """For the data's identity."""


def export_folder(beton: Path, layout: str) -> Path:
    """Where that file's images are kept in that layout, whether or not they exist yet."""
    return beton.with_suffix(f".{layout}")


def export(beton: Path, checksum: str, layout: str) -> Path:
    """The folder with the images in that layout, written if needed; `checksum`: of the .beton.

    Raises UserError where it can't be written, and what the layout's writer raises.
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
            EXPORTS[layout].write(beton, work)
            (work / _DONE).write_text(checksum, encoding="ascii")
            work.rename(folder)
    except OSError as error:
        raise describe_os_error(error, folder, "write into") from None
    return folder


def exported_files(folder: Path) -> list[Path]:
    """The files that contain the images."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _DONE)


def jpegs(beton: Path) -> Iterator[tuple[bytes, int]]:
    """JPEG data and label of each sample of a .beton of JPEGs, in its order."""
    opened = open_beton(beton)
    memory = opened.memory()
    places = zip(opened.images["data_ptr"].tolist(), opened.sizes.tolist(), strict=True)
    for (start, size), label in zip(places, opened.labels.tolist(), strict=True):
        yield memory[start : start + size].tobytes(), label


def write_files(beton: Path, folder: Path) -> None:
    """One file for each sample, as ImageFolder, timm and DALI read them: `label/sample.jpg`, numbers of fixed width."""
    for sample, (jpeg, label) in enumerate(jpegs(beton)):
        path = folder / f"{label:05d}" / f"{sample:08d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg)


def paths_and_labels(folder: Path) -> tuple[list[Path], list[int]]:
    """All files of `write_files` in the order of the samples, and their labels."""
    paths = sorted(
        (path for path in exported_files(folder) if path.suffix == ".jpg"), key=lambda path: path.name
    )
    return paths, [int(path.parent.name) for path in paths]


def write_shards(beton: Path, folder: Path) -> None:
    """Tar shards as webdataset reads them: `sample.jpg` beside `sample.cls`, the label as a decimal number.

    Samples are dealt out to the shards in turn, as if shuffled before writing, which webdataset recommends.
    """
    number = open_beton(beton).num_samples
    shards = min(number, max(_LEAST_SHARDS, min(_MOST_SHARDS, number // _IMAGES_EACH)))
    with ExitStack() as opened:
        tars = [
            opened.enter_context(tarfile.open(folder / f"shard-{shard:05d}.tar", "w"))
            for shard in range(shards)
        ]
        for sample, (jpeg, label) in enumerate(jpegs(beton)):
            for ending, data in (("jpg", jpeg), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{sample:08d}.{ending}")
                member.size = len(data)
                tars[sample % shards].addfile(member, io.BytesIO(data))


def write_chunks(beton: Path, folder: Path) -> None:
    """Chunks as litdata.optimize writes them: each sample's JPEG data, label and number.

    In another process, since litdata imports torch and the measuring process must not.
    """
    process = multiprocessing.get_context("spawn").Process(target=_optimize, args=(beton, folder))
    process.start()
    process.join()
    if process.exitcode:
        raise UserError(
            f"litdata could not write {folder} (exit code {process.exitcode}); its message is above"
        )


def _optimize(beton: Path, folder: Path) -> None:
    writers = importlib.import_module("litdata.streaming.writer")
    opened = open_beton(beton)
    each = -(-opened.num_samples // _LEAST_CHUNKS)
    small = int(opened.sizes.sum()) < _LEAST_CHUNKS * 64_000_000
    writer = writers.BinaryWriter(str(folder), **({"chunk_size": each} if small else {"chunk_bytes": _CHUNK}))
    for sample, (jpeg, label) in enumerate(jpegs(beton)):
        writer[sample] = {"image": jpeg, "label": label, "sample": sample}
    writer.done()
    writer.merge()


EXPORTS = {
    "files": Layout(write=write_files, words="one JPEG file each, in a folder for each class"),
    "webdataset": Layout(write=write_shards, words="tar shards, as webdataset reads them"),
    "litdata": Layout(write=write_chunks, words="chunks, as litdata reads them"),
}
