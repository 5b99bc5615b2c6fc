"""What a JPEG's header says, and the JPEG without what no decoder of pixels needs.

Source of the layout: ITU T.81, annex B. A header is walked, not searched, so that a preview within the metadata is
never taken for the image.
"""

import struct
from dataclasses import dataclass

from engine.data.decode.orientation import orientation_by_metadata

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
_BASELINE = 0xC0
# All frame headers: not DHT, JPG and DAC, which lie between them.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, kw_only=True)
class JpegHeader:
    """A JPEG's header, up to its first scan."""

    width: int
    height: int
    components: int
    """1: grayscale; 3: colour; 4: CMYK or YCCK."""
    precision: int
    """Bits a sample."""
    baseline: bool
    """Whether it is of the one process that every decoder knows and training decodes fastest."""
    exif: bytes
    """The EXIF data, empty where there is none."""
    xmp: bytes
    """The XMP data, likewise."""
    segments: bytes
    """The header's bytes without comments and application data, but for JFIF's and Adobe's: these decide colours."""
    scan: int
    """Where the entropy-coded data starts."""
    usual_colours: bool = False
    """Whether all decoders agree on its colours: gray, or YCbCr by every sign in the header."""

    @property
    def rotation(self) -> int:
        """As `orientation_of`: 1 (upright) to 8."""
        return orientation_by_metadata(self.exif, self.xmp) if self.exif or self.xmp else 1


def is_jpeg(content: bytes) -> bool:
    """Whether a file is a JPEG by its first bytes."""
    return content.startswith(b"\xff\xd8\xff")


def read_jpeg_header(content: bytes) -> JpegHeader:
    """The header of a file that `is_jpeg`. Raises ValueError when it is damaged or cut short."""
    kept, exif, xmp, frame, position = [content[:2]], b"", b"", None, 2
    names, adobe = b"", b""
    try:
        while True:
            if content[position] != 0xFF:
                raise ValueError(f"its header is damaged at byte {position}")
            while content[position + 1] == 0xFF:
                position += 1
            marker = content[position + 1]
            length = int.from_bytes(content[position + 2 : position + 4], "big")
            end = position + 2 + length
            if length < 2 or end > len(content):
                raise IndexError
            body = content[position + 4 : min(end, position + 20)]
            if marker in _FRAMES:
                if frame:
                    raise ValueError("it has two headers")
                frame = (marker, *struct.unpack(">BHHB", body[:6]))
                names = body[6:15:3]
            elif marker == _APP1:
                # As Pillow does: EXIF data may be spread over several segments, of XMP data the last count.
                segment = content[position + 4 : end]
                if segment.startswith(_EXIF):
                    exif += segment[len(_EXIF) if exif else 0 :]
                elif segment.startswith(_XMP):
                    xmp = segment[len(_XMP) :]
            elif marker == _APP14 and body.startswith(b"Adobe"):
                adobe = body[11:12]
            if _is_kept(marker, body):
                kept.append(content[position:end])
            position = end
            if marker == _SOS:
                break
    except (IndexError, struct.error):
        raise ValueError("it is cut short in its header") from None
    if frame is None:
        raise ValueError("its header does not say its size")
    marker, precision, height, width, components = frame
    if not height or not width:
        raise ValueError("its header says that it has no pixels")
    return JpegHeader(
        width=width,
        height=height,
        components=components,
        precision=precision,
        baseline=marker == _BASELINE,
        exif=exif,
        xmp=xmp,
        segments=b"".join(kept),
        scan=position,
        usual_colours=components == 1 or (components == 3 and names != b"RGB" and adobe in (b"", b"\1")),
    )


def _is_kept(marker: int, body: bytes) -> bool:
    if marker == _APP0:
        return body.startswith(b"JFIF\0")
    if marker == _APP14:
        return body.startswith(b"Adobe")
    return marker != _COM and not _APP0 <= marker <= 0xEF


def without_metadata(content: bytes, header: JpegHeader) -> bytes:
    """The JPEG without metadata; what follows the end of the image is still there."""
    if len(header.segments) == header.scan:
        return content
    return header.segments + content[header.scan :]
