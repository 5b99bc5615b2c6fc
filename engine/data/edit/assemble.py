"""A .beton of records of other .betons, as they are: nothing is decoded, every record is checked on its way.

parts (files, and which of their samples) -> records, read ahead -> checksums -> pages of one new file
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.bulk_reader import RecordReader, Stretch
from engine.data.beton.direct_file import DirectFile, bytes_on_disk
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton
from engine.data.beton.writer import BetonWriter, image_fields
from engine.data.convert.partial_file import journal_path, partial_path
from engine.errors import UserError, describe_os_error
from engine.files import sole_write
from engine.progress import Progress, human_bytes

# About what the manifest and the tables take.
_TABLES_PER_IMAGE = 96


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Samples of one file, in the order in which they are to be written, with the labels that they get."""

    beton: Beton
    samples: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """What a new file came to."""

    samples: int
    bytes: int
    """That the file takes on the disk."""
    seconds: float


def assemble(output: Path, parts: Sequence[Part], manifest: Manifest | None, left_out: int = 0) -> Assembled:
    """Write `output`, the parts one after the other; it is whole or absent. All parts are of formats of one field.

    A conversion leaves room in the tables for images that were `left_out`; a merge of its shards does likewise.
    Raises UserError when it is there already or can't be written, and when a record is not what was written.
    """
    first = parts[0].beton
    total = sum(len(part.samples) for part in parts)
    page_size = max(part.beton.page_size for part in parts)
    refuse_existing(output)
    fields = image_fields(first.formats[0], first.short_side, first.max_resolution)
    with sole_write(output) as file, DirectFile(file) as direct:
        # Here, where the space of what a killed attempt left is free again.
        _check_disk(output, parts)
        writer = BetonWriter(direct, fields, page_size, total + left_out)
        with Progress(output.name, total) as progress:
            copied = 0
            for part in parts:
                copied = _copy(writer, part, progress, copied)
        writer.finish(manifest)
        direct.flush()
        size = bytes_on_disk(os.fstat(file.fileno()))
    return Assembled(samples=total, bytes=size, seconds=progress.seconds)


def refuse_existing(output: Path) -> None:
    """Raise UserError when there is anything at this path, or a conversion to it was begun."""
    if output.exists() or output.is_symlink():
        raise UserError(f"{output} is there already: choose another OUTPUT, or remove it")
    journal = journal_path(output)
    if journal.exists():
        raise UserError(
            f"a conversion to {output} is under way or was interrupted: choose another OUTPUT, or remove "
            f"{partial_path(output).name} and {journal.name} beside it"
        )


def _copy(writer: BetonWriter, part: Part, progress: Progress, copied: int) -> int:
    """Returns the bytes of all records so far, `copied` of which were there before.

    Raises UserError naming the first record that is not what was written.
    """
    beton = part.beton

    def examine(stretch: Stretch) -> tuple[NDArray[np.int64], NDArray[np.uint32], bytes]:
        checksums = stretch.checksums()
        _check(beton, stretch, checksums)
        payload = b"".join(stretch.record(row) for row in range(len(stretch.samples)))
        return stretch.samples, checksums, payload

    done = 0
    with RecordReader(beton) as reader, closing(reader.examine(part.samples, examine)) as examined:
        for samples, checksums, payload in examined:
            labels = part.labels[done : done + len(samples)]
            sizes = beton.sizes[samples].tolist()
            writer.append(beton.images[samples], labels, sizes, checksums, payload)
            done += len(samples)
            copied += sum(sizes)
            progress.update(len(samples), size=copied)
    return copied


def _check(beton: Beton, stretch: Stretch, checksums: NDArray[np.uint32]) -> None:
    bad = stretch.unread.copy()
    if beton.checksums is not None:
        bad |= checksums != beton.checksums[stretch.samples]
    if bad.any():
        row = int(np.argmax(bad))
        sample = int(stretch.samples[row])
        name = f" ({beton.manifest.ids[sample]})" if beton.manifest else ""
        why = (
            "the disk fails to read it"
            if stretch.unread[row]
            else "its bytes have changed since they were written (wrong checksum)"
        )
        raise UserError(
            f"{beton.path}: sample {sample}{name} can't be copied: {why}; nothing was written: write that file again"
        )


def _check_disk(output: Path, parts: Sequence[Part]) -> None:
    sizes = sum(int(part.beton.sizes[part.samples].sum()) for part in parts)
    samples = sum(len(part.samples) for part in parts)
    # The unused ends of pages take no space on the disk.
    needed = sizes + samples * _TABLES_PER_IMAGE
    try:
        free = shutil.disk_usage(output.parent).free
    except OSError as error:
        raise describe_os_error(error, output.parent, "write into") from None
    if needed > free:
        raise UserError(
            f"{output.parent} has only {human_bytes(free)} free, and {output.name} needs about "
            f"{human_bytes(needed)}: free some space or choose another folder"
        )
