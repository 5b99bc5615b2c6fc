"""Where the members of a tar lie in it, read from its headers alone; nothing is unpacked.

The layout is that of POSIX ustar and pax, with GNU's long names
(https://www.gnu.org/software/tar/manual/html_node/Standard.html). A tar is believed only when it ends with its
end mark: one that was cut short anywhere, between two members too, is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.data.sources.access.location import Location
from engine.data.sources.access.size_bound import check_size
from engine.data.sources.base import printable
from engine.errors import UserError

PLACE = np.dtype([("file", "<u4"), ("offset", "<u8"), ("size", "<u8")])
"""Where an image's bytes lie: in which of a reader's files, from which byte on, how many."""

_BLOCK = 512
_END = bytes(_BLOCK)
_REGULAR, _FOLDER = b"0\0" + b"7", b"5"
_GNU_NAME, _GNU_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"


class Member(NamedTuple):
    """A regular file in a tar: its bytes are those from `offset` on. A folder's name ends with a slash."""

    name: str
    offset: int
    size: int


class Window:
    """Reads a file in pieces on a way that leads mostly forward, several pieces at once."""

    def __init__(self, file: Location, block: int = 0) -> None:
        self.file, self.file_size = file, file.size()
        self._block = block or file.SCAN_BYTES
        self._start, self._data = 0, b""

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from byte `start`, fewer where the file ends."""
        first = start - self._start
        if first < 0 or first + size > len(self._data):
            most = max(self.file_size - start, 0)
            self._start, self._data = start, self.file.read_range(start, min(max(size, self._block), most))
            first = 0
        return self._data[first : first + size]


def members(
    window: Window, start: int = 0, end: int | None = None, inside: str = "", folders: bool = False
) -> Iterator[Member]:
    """The regular files, in order, of the tar that takes bytes `start` to `end` of the window's file.

    With `folders` also the folders that are members themselves. `inside` names a tar in the tar for messages. Raises
    UserError for what is no tar, is damaged or cut short, and for links and the like, which can't be read in place.
    """
    end = window.file_size if end is None else end
    what = f"{printable(inside)} in {window.file}" if inside else str(window.file)
    place, name, size = start, "", -1
    while True:
        header = window.read(place, _BLOCK)
        if len(header) < _BLOCK or place + _BLOCK > end:
            raise UserError(
                f"{what} is cut short: it ends at byte {end - start:,} without a tar's end mark: get it again"
            )
        if header == _END:
            return
        kind = header[156:157]
        offset, length = place + _BLOCK, _number(header, place - start, what)
        if kind in _REGULAR and size >= 0:
            length = size
        place = offset + -(-length // _BLOCK) * _BLOCK
        if offset + length > end:
            raise UserError(
                f"{what} is cut short: its member {printable(name or _name(header))} should end at byte "
                f"{offset + length - start:,}, the tar ends at {end - start:,}: get it again"
            )
        if kind == _GNU_NAME:
            name = _text(window.read(offset, length))
        elif kind == _PAX:
            records = _pax(window.read(offset, length), what, offset - start)
            name = _text(records["path"]) if "path" in records else name
            size = int(records.get("size", size))
        elif kind in _REGULAR or kind == _FOLDER:
            name = (name or _name(header)).removeprefix("./")
            # In tars older than ustar a folder's name ends in a slash.
            if kind == _FOLDER or name.endswith("/"):
                name = name.rstrip("/") + "/"
            if folders or not name.endswith("/"):
                yield Member(name, offset, length)
            name, size = "", -1
        elif kind not in (_GNU_LINK, _PAX_GLOBAL):
            raise UserError(
                f"{what}: its member {printable(name or _name(header))} is a link or another thing that is no "
                f"file: pack the files themselves (tar --dereference --hard-dereference)"
            )


def places(members: Sequence[Member], file: int = 0) -> NDArray[np.void]:
    """The PLACE of each member of the reader's file of this number."""
    return np.array([(file, member.offset, member.size) for member in members], PLACE)


def _number(header: bytes, place: int, what: str) -> int:
    """The member's size, after a look at the header's checksum."""
    try:
        stored = int(header[148:156].split(b"\0")[0] or b"0", 8)
        size = header[124:136]
        # More than 8 GiB does not fit into octal digits; GNU tar writes such a size in binary.
        length = int.from_bytes(size[4:], "big") if size[0] == 0x80 else int(size.split(b"\0")[0] or b"0", 8)
    except ValueError:
        stored, length = -1, 0
    # A size below nothing would lead back to what has been read.
    if length < 0 or stored != sum(header) - sum(header[148:156]) + 8 * 0x20:
        if place == 0:
            compressed = header[:2] == b"\x1f\x8b" or header[:3] in (b"BZh", b"\xfd7z", b"(\xb5/")
            advice = "it is compressed: uncompress it first" if compressed else "get it again"
            raise UserError(f"{what} is not a tar: {advice}")
        raise UserError(f"{what} is damaged: there is no tar header at byte {place:,}: get it again")
    return length


def _name(header: bytes) -> str:
    prefix = header[345:500] if header[257:263] == b"ustar\0" else b""
    name = _text(header[:100])
    return f"{_text(prefix)}/{name}" if prefix.strip(b"\0") else name


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax(data: bytes, what: str, place: int) -> dict[str, bytes]:
    """Key -> value from pax records (`length key=value` and a newline) at this byte of the tar."""
    found: dict[str, bytes] = {}
    while data.strip(b"\0"):
        digits, _, _ = data.partition(b" ")
        length = int(digits) if _is_number(digits) else 0
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        # A length of nothing would lead nowhere, a size that is no number anywhere.
        whole = equals and value.endswith(b"\n") and length <= len(data)
        if not whole or (key == b"size" and not _is_number(value[:-1])):
            raise UserError(f"{what} is damaged: byte {place:,} begins no list of pax records: get it again")
        found[key.decode("utf-8", "replace")] = value[:-1]
        data = data[length:]
    return found


def _is_number(digits: bytes) -> bool:
    """Whether it is a number that a size can be; Python refuses to read those of thousands of digits."""
    return digits.isdigit() and len(digits) < 20


@dataclass(frozen=True)
class TarReader:
    """Reads members of tars by PLACE, which is all it needs to know."""

    folder: Location
    files: tuple[str, ...]
    """Paths of the tars below the folder."""

    def read(self, place: np.void) -> bytes:
        """The member's bytes. Raises UserError naming the tar when they can't be read."""
        size = int(place["size"])
        check_size(size, self.where(place))
        data = self._file(place).read_range(int(place["offset"]), size)
        if len(data) != size:
            raise UserError(f"cannot read {self.where(place)}: the file has become shorter: get it again")
        return data

    def where(self, place: np.void) -> str:
        """The tar's path and the member's first byte in it."""
        return f"byte {int(place['offset'])} of {self._file(place)}"

    def _file(self, place: np.void) -> Location:
        return self.folder / self.files[int(place["file"])]
