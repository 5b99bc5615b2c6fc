"""A .beton mapped into memory, and watched: reading a map of a file that shrank, or off a failing disk, is no
exception in Python but a signal that ends the process.

Before and after each batch the file's size and time of change are asked for, which finds a file that was cut short or
written over in place. Where the C library is built, reads that fail in between are caught as well and named by their
place.
"""

import os
import weakref

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.data.native.library import Library
from engine.errors import UserError


class Mapping:
    """The bytes of one file. `close()` when nothing reads them any more; one that is dropped is closed.

    Raises UserError when it can't be opened, has become shorter than its records need, or is another file now than the
    one that was checked.
    """

    def __init__(self, beton: Beton, library: Library | None) -> None:
        self.beton = beton
        self._descriptor = beton.open()
        try:
            self.memory: NDArray[np.uint8] = np.asarray(beton.memory(self._descriptor))
        except UserError:
            os.close(self._descriptor)
            raise
        # The file may have been cut short since it was opened and checked.
        self._size = max(len(self.memory), int((beton.images["data_ptr"] + beton.sizes).max()))
        self._mark = beton.mark
        self._library = library
        self._slot = library.guard(self.memory) if library else None
        # A watch that outlived its map would take the failures of the next map at the same addresses for its own.
        self._close = weakref.finalize(self, _end, self._descriptor, library, self._slot)
        try:
            self.check()
        except UserError:
            self.close()
            raise

    def check(self) -> bool:
        """Whether the file's records may have changed since the last check; its tables have not.

        Raises UserError when the file has shrunk or was written over, or a read of the map has failed.
        """
        if (size := os.fstat(self._descriptor).st_size) < self._size:
            raise UserError(
                f"{self.beton.path} was cut short while it was in use: it has {size} bytes and had {self._size}; "
                "copy or write it again, then start again"
            )
        offset = None if self._library is None or self._slot is None else self._library.fault(self._slot)
        if offset is not None:
            raise UserError(
                f"{self.beton.path} can't be read at byte {offset}{self._sample_at(offset)}: the disk or the "
                "network failed, or the file was cut short; copy it again, from a healthy disk"
            )
        if (mark := self._mark) is None:
            return False
        self._mark = mark.renewed(
            self.beton.path, self._descriptor, has_checksums=self.beton.checksums is not None
        )
        return self._mark is not mark

    @property
    def descriptor(self) -> int:
        """The open file, for reads beside the map; the mapping's."""
        return self._descriptor

    def _sample_at(self, offset: int) -> str:
        starts = self.beton.images["data_ptr"].astype(np.int64)
        hit = np.flatnonzero((starts <= offset) & (offset < starts + self.beton.sizes.astype(np.int64)))
        return f" (sample {hit[0]})" if len(hit) else ""

    def close(self) -> None:
        """Stop watching; again is fine. The map itself goes with the last array that shows it."""
        self._close()


def _end(descriptor: int, library: Library | None, slot: int | None) -> None:
    if library is not None and slot is not None:
        library.unguard(slot)
    os.close(descriptor)
