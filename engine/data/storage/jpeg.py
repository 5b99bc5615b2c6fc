"""Storage format jpeg: ffcv's RGBImageField in its JPEG mode. A record is a JPEG file.

In C (native/jpeg.c) only the crop's rows and columns are decoded. Without that library the whole image is, at the same
DCT scale and to the same pixels: by libjpeg-turbo's own interface where ffcv brings it, else by Pillow.

The DCT scale is the smallest that covers the resolution, unless the batch is to be exact: the DCT then does part of
the shrinking, as a box and not as the resize law's triangle does it, by 0.2 to 1.7 levels on average on photos.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.decode.batch import BAD_JPEG, REASONS, WRONG_SIZE, DecodeBatch
from engine.data.decode.ffcv_library import ffcv_library
from engine.data.decode.workspace import Workspace
from engine.data.native.library import Library
from engine.data.storage.storage_format import EncodeSettings, StorageFormat
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.data.storage.jpeg_header import JpegHeader


class JpegFormat(StorageFormat):
    """JPEG, as it came or encoded anew."""

    name, title, mode = "jpeg", "JPEG", 0
    # JPEG_MAX_DIMENSION of libjpeg.
    max_side = 65500
    suffix = ".jpg"
    shows_damage = True
    record_words = "a JPEG's"

    def record_bytes(self, heights: NDArray[np.int64], widths: NDArray[np.int64]) -> None:
        """Any number: libjpeg stays within the record, and its header is compared with the table."""
        return None

    @property
    def wrong_size_reason(self) -> str:
        return REASONS[WRONG_SIZE]

    def encode(self, pixels: NDArray[np.uint8], settings: EncodeSettings) -> bytes:
        # Imported late: opening a file has no need of it.
        import cv2

        factors = {
            "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
            "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
            "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        }
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors[settings.jpeg_subsampling]]
        done, jpeg = cv2.imencode(".jpg", bgr, options)
        if not done:
            raise UserError("it cannot be encoded as JPEG: look at it, repair or remove it")
        return jpeg.tobytes()

    def keeps(self, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings) -> bool:
        return settings.jpeg_unchanged and size[0] == header.width

    def from_jpeg(
        self, content: bytes, header: "JpegHeader", size: tuple[int, int], settings: EncodeSettings
    ) -> bytes | None:
        # Imported late, as Pillow is, which it needs.
        from engine.data.storage import jpeg_transcode

        if self.keeps(header, size, settings):
            return jpeg_transcode.keep(content, header, settings.max_bytes, check=settings.jpeg_check)
        return jpeg_transcode.to_jpeg(
            content, size, settings.jpeg_quality, settings.jpeg_subsampling, settings.max_bytes
        )

    def to_rgb(self, record: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        from engine.data.decode.pillow_pixels import decode_rgb

        return decode_rgb(record.tobytes())

    def is_in_c(self, native: Library | None) -> bool:
        return native is not None and native.has_jpeg

    def decode_rows(self, batch: DecodeBatch, rows: NDArray[np.int64], workspace: Workspace) -> None:
        if workspace.library and workspace.library.has_jpeg:
            workspace.library.decode("jpeg", batch, rows, workspace.address)
            return
        if ffcv_library() is None:
            # Imported late, as is what follows: numba takes seconds.
            from engine.data.decode.jpeg_pillow import decode_by_pillow

            decode_by_pillow(batch, rows, workspace)
            return
        from engine.data.decode.jpeg_whole import decode_whole

        pixels = int((batch.heights[rows] * batch.widths[rows]).max(initial=1))
        while len(rows):
            done = decode_whole(
                *(*batch.arrays(), batch.exact, rows),
                *(workspace.turbojpeg(), workspace.scratch(3 * pixels)),
            )
            if batch.status[rows[done - 1]] == BAD_JPEG:
                workspace.retire_turbojpeg()
            rows = rows[done:]


JPEG = JpegFormat()
