"""The C decoders as Python sees them. Calls release the GIL."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import DecodeBatch
from engine.data.native.compile import library_path


class _Batch(ctypes.Structure):
    """struct batch of engine.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("memory", "offsets", "sizes", "heights", "widths")),
        *((name, ctypes.c_void_p) for name in ("boxes", "windows", "out", "status")),
        ("resolution", ctypes.c_int64),
        ("exact", ctypes.c_int64),
    )


class Library:
    """A library that compile.py built. Raises OSError when it can't be loaded."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.engine_workspace_new.restype = ctypes.c_void_p
        self._library.engine_workspace_free.argtypes = [ctypes.c_void_p]
        self._library.engine_guard.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self._library.engine_guard.restype = ctypes.c_int64
        self._library.engine_fault.argtypes = [ctypes.c_int64]
        self._library.engine_fault.restype = ctypes.c_int64
        self._library.engine_unguard.argtypes = [ctypes.c_int64]
        self.has_jpeg = hasattr(self._library, "engine_decode_jpeg")
        if self.has_jpeg:
            self._library.engine_jpeg_message.argtypes = [ctypes.c_void_p]
            self._library.engine_jpeg_message.restype = ctypes.c_char_p
            self._library.engine_jpeg_version.restype = ctypes.c_int64

    def decode(self, kind: str, batch: DecodeBatch, rows: NDArray[np.int64], workspace: int) -> None:
        """Decode these rows of the batch by engine_decode_`kind`; `workspace` is the calling thread's."""
        described = _Batch(
            *(array.ctypes.data for array in batch.arrays()), resolution=batch.resolution, exact=batch.exact
        )
        function = getattr(self._library, f"engine_decode_{kind}")
        pointer = ctypes.c_void_p(rows.ctypes.data)
        function(ctypes.byref(described), pointer, ctypes.c_int64(len(rows)), ctypes.c_void_p(workspace))

    def transcode(self, kind: str, job: ctypes.Structure) -> int:
        """Do one of transcode.c's functions, such as "to_jpeg"; returns its status."""
        return int(getattr(self._library, f"engine_jpeg_{kind}")(ctypes.byref(job)))

    def jpeg_version(self) -> int:
        """libjpeg-turbo's version, such as 2001005 for 2.1.5."""
        return int(self._library.engine_jpeg_version())

    def use_avx2(self, wanted: bool) -> bool:
        """Choose between the two builds of the resize; returns whether AVX2's is in use."""
        return bool(self._library.engine_use_avx2(int(wanted)))

    @property
    def uses_avx2(self) -> bool:
        """Whether the resize built for AVX2 is in use."""
        return bool(self._library.engine_uses_avx2())

    def new_workspace(self) -> int:
        """A thread's memory, to be freed with `free_workspace`."""
        address = self._library.engine_workspace_new()
        if not address:
            raise MemoryError("no memory for a decoder's workspace")
        return int(address)

    def free_workspace(self, workspace: int) -> None:
        self._library.engine_workspace_free(workspace)

    def jpeg_message(self, workspace: int) -> str:
        """What libjpeg-turbo said of the last JPEG that failed in this workspace."""
        return str(self._library.engine_jpeg_message(workspace).decode("ascii", "replace"))

    def guard(self, memory: NDArray[np.uint8]) -> int | None:
        """Turn failed reads of this memory map into a note instead of the process' end; None: can't be had."""
        slot = int(self._library.engine_guard(memory.ctypes.data, memory.nbytes))
        return slot if slot >= 0 else None

    def fault(self, slot: int) -> int | None:
        """The byte of the guarded map whose read failed first, if any did."""
        offset = int(self._library.engine_fault(slot))
        return offset if offset >= 0 else None

    def unguard(self, slot: int) -> None:
        self._library.engine_unguard(slot)


@cache
def library() -> Library | None:
    """The library built from the present sources; None where there is none that loads."""
    path = library_path()
    if not path.exists():
        return None
    try:
        return Library(path)
    except OSError:
        # Built against a libjpeg-turbo that is gone. The doctor says so; decoding goes on in numba.
        return None


def describe() -> str:
    """The library in words; empty where there is none."""
    found = library()
    if found is None:
        return ""
    parts = ["AVX2" if found.uses_avx2 else "no AVX2", "JPEG" if found.has_jpeg else "without JPEG"]
    return ", ".join(parts)
