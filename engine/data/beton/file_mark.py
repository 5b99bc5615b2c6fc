"""Whether an open .beton is still the file that was checked: one that was written over in place has other pixels under
the labels that were read, and nothing else shows it.

Size and time of change cost nothing to ask for. Where they differ, as after `touch`, all that is no image's record is
read again: the tables, the manifest and the records' checksums.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.data.beton.checksum import crc32
from engine.errors import UserError

_PIECE = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class FileMark:
    """A file as it was when it was read."""

    state: tuple[int, int, int, int]
    """Device, inode, size in bytes, and time of the last change in ns."""
    records: tuple[int, int]
    """Where the area begins that holds the records, and where it ends."""
    crc: int
    """crc32 of all outside of that area."""

    def renewed(self, path: Path, descriptor: int, *, has_checksums: bool) -> "FileMark":
        """This mark, or that of the same content with another state.

        Raises UserError for other content, and where records may have changed that have no checksums to show it.
        """
        if state_of(descriptor) == self.state:
            return self
        now = read_mark(descriptor, self.records, self.state[2])
        if now.crc == self.crc and has_checksums:
            return now
        what = (
            "its labels, sizes or checksums are other ones now"
            if now.crc != self.crc
            else "it has no checksums that could show whether its images are the same"
        )
        time = datetime.fromtimestamp(now.state[3] / 1e9).strftime("%Y-%m-%d %H:%M:%S")
        raise UserError(
            f"{path} was changed while it was in use (last at {time}): {what}; put the file back that was there, then "
            "resume the run from its last checkpoint, or start a new run with the new file"
        )


def read_mark(descriptor: int, records: tuple[int, int], size: int) -> FileMark:
    """The mark of an open file, of which the first `size` bytes count."""
    # The state comes first: what is written from here on is another state.
    state, crc = state_of(descriptor), 0
    for start, stop in ((0, records[0]), (records[1], size)):
        for at in range(start, stop, _PIECE):
            crc = crc32(os.pread(descriptor, min(_PIECE, stop - at), at), crc)
    return FileMark(state=state, records=records, crc=crc)


def state_of(descriptor: int) -> tuple[int, int, int, int]:
    """FileMark.state of an open file now."""
    now = os.fstat(descriptor)
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns
