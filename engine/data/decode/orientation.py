"""Which way up an image is: one rule for the conversion and for the comparison with the original files.

It is Pillow's (ImageOps.exif_transpose), with which most programs turn photos: EXIF's orientation, or XMP's where EXIF
has none. Only metadata that can't be read, which Pillow fails on, turns nothing here.
"""

from contextlib import suppress

from PIL import Image

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# In a PNG they may come behind the pixels, where Pillow finds them only after decoding.
_PNG_METADATA = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")


def orientation_of(image: Image.Image) -> int:
    """What the image's metadata says: 1 (upright) to 8; 1 too where it says nothing, or can't be read."""
    try:
        # Not a PNG's own getexif, which decodes the whole image wherever it has no EXIF data.
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    # Pillow's parser raises whatever damaged data drives it into.
    except Exception:  # noqa: BLE001
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_by_metadata(exif: bytes, xmp: bytes) -> int:
    """The same of an image file with these EXIF and XMP data, empty where it has none."""
    image = Image.Image()
    image.info = {name: data for name, data in (("exif", exif), ("xmp", xmp)) if data}
    return orientation_of(image)


def load_late_metadata(image: Image.Image, content: bytes) -> None:
    """Decode a PNG whose metadata may come behind its pixels; damage is left for others to find."""
    if image.format == "PNG" and any(name in content for name in _PNG_METADATA):
        with suppress(Exception):
            image.load()


def turned(image: Image.Image) -> Image.Image:
    """The image, which is loaded, turned as its metadata says."""
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)
