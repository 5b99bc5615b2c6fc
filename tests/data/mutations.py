"""Damaged copies of a .beton, as hypothesis strategies: what disks, cables, crashed programs and hex editors do."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from engine.data.beton import layout

_MOST_DAMAGES = 3
_NO_END = 2**62
_FIELDS_START = layout.HEADER.itemsize
_SECOND_FIELD = _FIELDS_START + layout.FIELD.itemsize
_SAMPLES_START = _SECOND_FIELD + layout.FIELD.itemsize
_ENTRY = layout.ALLOCATION.itemsize


Number = tuple[int, int]
"""Offset in the file and bytes of a number."""


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

        entries = [list(_numbers(sample, _SAMPLES_START + i * sample.itemsize)) for i in range(samples)]
        places = [list(_numbers(layout.ALLOCATION, table_start + i * _ENTRY)) for i in range(samples)]
        self.numbers: dict[str, list[Number]] = {
            "header": list(_numbers(layout.HEADER, 0)),
            "fields": [*_numbers(_ARGUMENTS, _FIELDS_START), *_numbers(_ARGUMENTS, _SECOND_FIELD)],
            "images": [number for entry in entries for number in entry[:-1]],
            "labels": [entry[-1] for entry in entries],
            "table": [number for place in places for number in place],
        }
        self.pointers = [(entry[-2], place[1]) for entry, place in zip(entries, places, strict=True)]
        """Where a record begins, as its image's metadata and as the allocation table say."""


# What a descriptor's bytes may mean: its type, then either the record of a YUV 4:2:0 field or two parts.
_ARGUMENTS = np.dtype(
    {
        "names": ["type_id", "name", "yuv420", "manifest", "checksums"],
        "formats": ["<u1", "<u1", layout.CUSTOM_ARGUMENTS, layout.PART, layout.PART],
        "offsets": [0, 1, 17, 17 + layout.MANIFEST_PLACE, 17 + layout.CHECKSUMS_PLACE],
    }
)


def _numbers(dtype: np.dtype[np.void], offset: int) -> Iterator[Number]:
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
    """Copies of the file with one to three damages; one in five has another length besides."""
    anatomy = Anatomy(good)
    places = st.one_of(*(st.sampled_from(part) for part in (anatomy.head, anatomy.records, anatomy.tail)))
    number = st.one_of(*(st.sampled_from(group) for group in anatomy.numbers.values()))
    value = _values([len(good), anatomy.head.stop, anatomy.records.start, anatomy.tail.start])
    damage = st.one_of(
        _flipped(places),
        _overrun(places),
        _renumbered(number, value),
        _copied(number),
        _moved(anatomy, value),
    )
    damages = st.lists(damage, min_size=1, max_size=_MOST_DAMAGES)
    resized = st.tuples(damages, _resized(places)).map(lambda both: [*both[0], both[1]])
    return st.one_of(damages, damages, damages, damages, resized).map(lambda all_of: _apply(good, all_of))


# What takes the place of the bytes from `start` to `stop`; a range is bytes of the good file.
Change = tuple[int, int, bytes | range]
Damage = list[Change]


def _apply(good: bytes, damages: list[Damage]) -> Pieces:
    pieces = [memoryview(good)]
    for start, stop, new in (change for damage in damages for change in damage):
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
    return st.builds(lambda place, byte: [(place, place + 1, bytes([byte]))], places, st.integers(0, 255))


def _overrun(places: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """A run of bytes, up to a disk's block, is zeros, ones, spaces or noise."""
    noise = st.binary(min_size=1, max_size=64)
    byte = st.sampled_from([b"\0", b"\xff", b" "])
    block = st.builds(lambda byte, size: byte * size, byte, st.integers(1, 4096))
    return st.builds(lambda place, new: [(place, place + len(new), new)], places, noise | block)


def _values(places: list[int]) -> st.SearchStrategy[int]:
    """Extreme numbers, those about these places in the file, small ones and any."""
    powers = [2**bits for bits in (0, 8, 15, 16, 20, 21, 31, 32, 40, 62, 63, 64)]
    edges = st.sampled_from([edge + extra for edge in powers + places for extra in (-1, 0, 1)])
    return edges | st.integers(0, 100) | st.integers(0, 2**64 - 1)


def _write(number: Number, value: int) -> Change:
    offset, width = number
    return offset, offset + width, (value % 2 ** (8 * width)).to_bytes(width, "little")


def _renumbered(
    number: st.SearchStrategy[Number], value: st.SearchStrategy[int]
) -> st.SearchStrategy[Damage]:
    """A number is another one."""
    return st.builds(lambda number, value: [_write(number, value)], number, value)


def _copied(number: st.SearchStrategy[Number]) -> st.SearchStrategy[Damage]:
    """A number has the bytes of another one of the file."""
    return st.builds(lambda to, of: [(to[0], to[0] + to[1], range(of[0], of[0] + to[1]))], number, number)


def _moved(anatomy: Anatomy, value: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """Both tables agree that a record lies elsewhere."""
    pointers = st.sampled_from(anatomy.pointers)
    return st.builds(lambda both, value: [_write(number, value) for number in both], pointers, value)


def _resized(places: st.SearchStrategy[int]) -> st.SearchStrategy[Damage]:
    """Cut short, or bytes are lost or added amid it or at its end."""
    cut = st.builds(lambda place: [(place, _NO_END, b"")], places)
    lost = st.builds(lambda place, count: [(place, place + count, b"")], places, st.integers(1, 5000))
    added = st.builds(lambda place, new: [(place, place, new)], places, st.binary(min_size=1, max_size=64))
    extended = st.builds(lambda count: [(_NO_END, _NO_END, bytes(count))], st.integers(1, 5000))
    return st.one_of(cut, lost, added, extended)
