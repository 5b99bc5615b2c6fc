"""Damaged copies of a .beton, as hypothesis strategies: what disks, cables, crashed programs and hex editors do."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from engine.data import layout

_MOST_DAMAGES = 3
_NO_END = 2**62
_FIELDS_START = layout.HEADER.itemsize
_SAMPLES_START = _FIELDS_START + 2 * layout.FIELD.itemsize


class Anatomy:
    """Where the parts of a good file (image field first) lie, in bytes."""

    def __init__(self, good: bytes) -> None:
        header = np.frombuffer(good, layout.HEADER, 1)[0]
        fields = np.frombuffer(good, layout.FIELD, 2, _FIELDS_START)
        sample = layout.sample_dtype(fields["type_id"].tolist())
        samples, table_start = int(header["num_samples"]), int(header["alloc_table_ptr"])
        table = np.frombuffer(good, layout.ALLOCATION, samples, table_start)
        self.head = range(_SAMPLES_START + samples * sample.itemsize)
        self.records = range(int(table["ptr"].min()), int((table["ptr"] + table["size"]).max()))
        self.tail = range(self.records.stop, len(good))
        self.numbers = [
            *_numbers(layout.HEADER, 0),
            *_numbers(_ARGUMENTS, _FIELDS_START),
            *_numbers(_ARGUMENTS, _FIELDS_START + layout.FIELD.itemsize),
            *(n for i in range(samples) for n in _numbers(sample, _SAMPLES_START + i * sample.itemsize)),
            *(n for i in range(samples) for n in _numbers(layout.ALLOCATION, table_start + i * 24)),
        ]
        """Offset and bytes of every number in the header, the descriptors and both tables."""


# What a descriptor's bytes may mean: its type, then either the record of a YUV 4:2:0 field or two parts.
_ARGUMENTS = np.dtype(
    {
        "names": ["type_id", "name", "yuv420", "manifest", "checksums"],
        "formats": ["<u1", "<u1", layout.YUV420_RECORD, layout.PART, layout.PART],
        "offsets": [0, 1, 17, 17 + layout.MANIFEST_PLACE, 17 + layout.CHECKSUMS_PLACE],
    }
)


def _numbers(dtype: np.dtype[np.void], offset: int) -> Iterator[tuple[int, int]]:
    assert dtype.fields is not None
    for inner, place, *_ in dtype.fields.values():
        if inner.fields is None:
            yield offset + place, inner.itemsize
        else:
            yield from _numbers(inner, offset + place)


# A file's content in pieces, so that one of megabytes, mostly untouched, need not be copied for each damage.
Pieces = list[memoryview]


def write_pieces(path: Path, pieces: Pieces) -> int:
    """Make the file `path`, which exists, hold this content; returns its size in bytes."""
    with open(path, "r+b") as file:
        file.writelines(pieces)
        return file.truncate()


def damaged(good: bytes) -> st.SearchStrategy[Pieces]:
    """Copies of the file with one to three damages, each of any kind."""
    anatomy = Anatomy(good)
    places = st.one_of(*(st.sampled_from(part) for part in (anatomy.head, anatomy.records, anatomy.tail)))
    damage = st.one_of(
        _flipped(places),
        _overrun(places),
        _renumbered(anatomy, len(good)),
        _swapped(anatomy),
        _resized(places),
    )
    return st.lists(damage, min_size=1, max_size=_MOST_DAMAGES).map(lambda all_of: _apply(good, all_of))


# A damage is what takes the place of the bytes from `start` to `stop`; a range is bytes of the good file.
Damage = tuple[int, int, bytes | range]


def _apply(good: bytes, damages: list[Damage]) -> Pieces:
    pieces = [memoryview(good)]
    for start, stop, new in damages:
        inserted = memoryview(good)[new.start : new.stop] if isinstance(new, range) else memoryview(new)
        pieces = [*_cut(pieces, 0, start), inserted, *_cut(pieces, stop, _NO_END)]
    return pieces


def _cut(pieces: Pieces, start: int, stop: int) -> Iterator[memoryview]:
    offset = 0
    for piece in pieces:
        yield piece[max(0, start - offset) : max(0, stop - offset)]
        offset += len(piece)


def _flipped(places: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """One byte is another."""
    return st.builds(lambda place, byte: (place, place + 1, bytes([byte])), places, st.integers(0, 255))


def _overrun(places: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """A run of bytes, up to a disk's block, is zeros, ones, text or noise."""
    short = st.binary(min_size=1, max_size=64)
    block = st.builds(
        lambda byte, size: bytes([byte]) * size, st.sampled_from([0, 255, 32]), st.integers(1, 4096)
    )
    return st.builds(lambda place, new: (place, place + len(new), new), places, short | block)


def _renumbered(anatomy: Anatomy, size: int) -> st.SearchStrategy[Damage]:
    """A number is an extreme one, one near the file's size, or any."""
    powers = [
        2**bits + extra for bits in (0, 1, 8, 15, 16, 21, 31, 32, 40, 62, 63, 64) for extra in (-1, 0, 1)
    ]
    ends = [end + extra for end in (size, anatomy.tail.start, anatomy.head.stop) for extra in (-1, 0, 1)]
    values = st.sampled_from(powers + ends) | st.integers(0, 100) | st.integers(0, 2**64 - 1)

    def write(number: tuple[int, int], value: int) -> Damage:
        offset, width = number
        return offset, offset + width, (value % 2 ** (8 * width)).to_bytes(width, "little")

    return st.builds(write, st.sampled_from(anatomy.numbers), values)


def _swapped(anatomy: Anatomy) -> st.SearchStrategy[Damage]:
    """A number has the bytes of another one of the file."""
    number = st.sampled_from(anatomy.numbers)
    return st.builds(lambda to, of: (to[0], to[0] + to[1], range(of[0], of[0] + to[1])), number, number)


def _resized(places: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """Cut short, or bytes are lost or added amid it or at its end."""
    cut = st.builds(lambda place: (place, _NO_END, b""), places)
    lost = st.builds(lambda place, count: (place, place + count, b""), places, st.integers(1, 5000))
    added = st.builds(lambda place, new: (place, place, new), places, st.binary(min_size=1, max_size=64))
    extended = st.builds(lambda count: (2**62, _NO_END, bytes(count)), st.integers(1, 5000))
    return cut | lost | added | extended
