"""Ways to read all images' bytes into memory, each image once, by one thread of this process.

Each opens its files itself and returns the bytes of images that it read. A docstring is the side's settings in the
records.
"""

import tarfile

import numpy as np

from benchmarks.harness.images.prepared import Images
from engine.data.beton.mapping import Mapping
from engine.data.beton.reader import open_beton
from engine.data.loading.windows import WindowReader
from engine.data.sampling.order import cut_pages, page_windows

_CHUNK = 2**20
_WINDOW = 64 * 2**20
_BATCH = 128


def mapped(images: Images) -> int:
    """Our loader's way where the file fits into memory: copied from the map, in an epoch's random order."""
    beton = open_beton(images.beton)
    mapping = Mapping(beton, None)
    order = np.random.default_rng(0).permutation(beton.num_samples)
    try:
        return _copy(mapping.memory, beton.images["data_ptr"][order], beton.sizes[order])
    finally:
        mapping.close()


def windows(images: Images) -> int:
    """Our loader's way where it does not: page-wise order, the next window read while one is used."""
    beton = open_beton(images.beton)
    mapping = Mapping(beton, None)
    plan = page_windows(
        cut_pages(beton.images["data_ptr"], beton.sizes), window_bytes=_WINDOW, seed=0, epoch=0
    )
    reader = WindowReader(beton.path, mapping.memory, plan)
    total = 0
    try:
        for start in range(0, len(plan.order), _BATCH):
            ids = plan.order[start : start + _BATCH]
            reader.advance(ids)
            total += _copy(mapping.memory, beton.images["data_ptr"][ids], beton.sizes[ids])
        return total
    finally:
        reader.close()
        mapping.close()


def single_files(images: Images) -> int:
    """One file for each image, in random order: as ImageFolder reads them."""
    paths = images.files
    total = 0
    for number in np.random.default_rng(0).permutation(len(paths)).tolist():
        with open(paths[number], "rb", buffering=0) as file:
            total += len(file.read())
    return total


def tar_shards(images: Images) -> int:
    """Shards one after the other, each as a stream: as webdataset reads them."""
    total = 0
    for path in images.files:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                size = len(content.read())
                total += size if member.name.endswith(".jpg") else 0
    return total


def whole_file(images: Images) -> int:
    """The .beton from beginning to end with large reads: what the disk, or the page cache, can do."""
    buffer = bytearray(_CHUNK)
    with open(images.beton, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return images.bytes


def _copy(memory: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> int:
    buffer = np.empty(int(sizes.max()), np.uint8)
    total = 0
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        buffer[:size] = memory[start : start + size]
        total += size
    return total
