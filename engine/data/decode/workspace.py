"""A decoding thread's own memory and JPEG decompressor, for the C decoders or for those in numba."""

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import DecodeBatch
from engine.data.native.library import Library


class Workspace:
    """One for each thread. `library` is None where decoding is done in numba."""

    def __init__(self, library: Library | None) -> None:
        self.library = library
        self.address = library.new_workspace() if library else 0
        self._scratch = np.empty(0, np.uint8)
        self._handle: object = None
        self._message = ""

    def scratch(self, size: int) -> NDArray[np.uint8]:
        """At least `size` bytes, kept from call to call."""
        if len(self._scratch) < size:
            self._scratch = np.empty(size, np.uint8)
        return self._scratch

    def turbojpeg(self) -> int:
        """The address of a TurboJPEG decompressor of ffcv's library."""
        # Opening ffcv's library takes a while, and only those without our own need it.
        from engine.data.decode.libffcv import JpegHandle

        if self._handle is None:
            self._handle = JpegHandle()
        assert isinstance(self._handle, JpegHandle)
        return self._handle.address

    def retire_turbojpeg(self) -> None:
        """Note what the decompressor says of the JPEG it failed on; the next call of `turbojpeg` makes a new one."""
        from engine.data.decode.libffcv import JpegHandle

        assert isinstance(self._handle, JpegHandle)
        self._message, self._handle = self._handle.last_error(), None

    def note_jpeg_message(self, message: str) -> None:
        """Note what another decoder says of the JPEG it failed on."""
        self._message = message

    def jpeg_message(self) -> str:
        """What the decoder said of the last JPEG that failed here."""
        if self.library and self.library.has_jpeg:
            return self.library.jpeg_message(self.address)
        return self._message

    def __del__(self) -> None:
        if getattr(self, "address", 0) and self.library:
            self.library.free_workspace(self.address)


def resize_rgb(batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
    """Crop, resize and flip these rows, whose records are height x width x 3 bytes of RGB, into batch.out."""
    if workspace.library:
        workspace.library.decode("raw", batch, rows, workspace.address)
        return
    # Imported late: it brings numba, which takes seconds.
    from engine.data.decode.portable_resize import decode_raw

    decode_raw(*batch.arrays(), rows)
