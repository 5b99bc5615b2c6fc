"""Exact copies: images with the same bytes, across both files or within one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton
from engine.errors import UserError, describe_os_error
from engine.progress import Progress


def exact_groups(betons: Sequence[Beton]) -> list[NDArray[np.int64]]:
    """Groups of two or more images with the same bytes, storage mode and size; each group int64, ascending.

    Images are numbered continuously through the files; groups are sorted by their first image. Checksums and sizes
    select candidates (files without checksums are read whole), whose bytes are then compared.
    """
    keys = np.concatenate([_keys(beton) for beton in betons])
    order = np.lexsort(keys.T)
    new = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])
    starts = np.append(np.flatnonzero(new), len(order))
    groups: list[NDArray[np.int64]] = []
    for place in np.flatnonzero(np.diff(starts) > 1):
        members = np.sort(order[starts[place] : starts[place + 1]]).astype(np.int64)
        groups += _equal(betons, members)
    return sorted(groups, key=lambda group: int(group[0]))


def _keys(beton: Beton) -> NDArray[np.uint64]:
    """Keys that equal records share, uint64 (images, 2): checksum and size; storage mode, width and height."""
    images = beton.images
    checksums = _read_checksums(beton) if beton.checksums is None else beton.checksums
    content = checksums.astype(np.uint64) << np.uint64(32) | beton.sizes.astype(np.uint64)
    mode, width, height = (images[name].astype(np.uint64) for name in ("mode", "width", "height"))
    return np.stack([content, mode << np.uint64(32) | width << np.uint64(16) | height], axis=1)


def _read_checksums(beton: Beton) -> NDArray[np.uint32]:
    checksums = np.empty(beton.num_samples, np.uint32)
    with Progress(f"reading {beton.path.name}", int(beton.sizes.sum()), "bytes") as progress:
        for sample in np.argsort(beton.images["data_ptr"]):
            checksums[sample] = crc32(_record(beton, int(sample)))
            progress.update(int(beton.sizes[sample]))
    return checksums


def _equal(betons: Sequence[Beton], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The groups of members whose bytes are equal."""
    by_content: dict[bytes, list[int]] = {}
    for member in members:
        beton, sample = locate(betons, int(member))
        by_content.setdefault(_record(beton, sample), []).append(int(member))
    return [np.array(equal, np.int64) for equal in by_content.values() if len(equal) > 1]


def locate(betons: Sequence[Beton], image: int) -> tuple[Beton, int]:
    """The file of an image, and its sample number there."""
    for beton in betons:
        if image < beton.num_samples:
            return beton, image
        image -= beton.num_samples
    raise IndexError(image)


def _record(beton: Beton, sample: int) -> bytes:
    # Read, not mapped: a failing disk raises an error here, but would kill the process there.
    start, size = int(beton.images["data_ptr"][sample]), int(beton.sizes[sample])
    try:
        with open(beton.path, "rb", buffering=0) as file:
            file.seek(start)
            data = file.read(size)
    except OSError as error:
        raise describe_os_error(error, beton.path, "read") from None
    if len(data) != size:
        raise UserError(f"{beton.path} became shorter while it was read: is it still being copied?")
    return data
