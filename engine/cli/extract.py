"""`python -m engine extract FILE INDEX`: one image of a .beton as a file, its JPEG's own bytes or else a PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError
from engine.files import atomic_write

if TYPE_CHECKING:
    from engine.data.beton.reader import Beton

_DESCRIPTION = """Write one image of a .beton file to a separate file.

A JPEG is written byte for byte as it is stored; any other image becomes a PNG. Exit code 1: the image's checksum is
wrong."""

_ALSO = {".jpg": (".jpg", ".jpeg"), ".png": (".png",)}


def main(argv: Sequence[str]) -> int:
    """Write the image and describe it; returns 0, or 1 when its checksum is wrong.

    Raises UserError when the file can't be read, has no such image, or the output can't be written.
    """
    parser = CommandParser("python -m engine extract", _DESCRIPTION, "FILE INDEX [options]")
    parser.add_argument("file", type=Path, metavar="FILE", help="a .beton file, ours or stock ffcv's")
    parser.add_argument("index", type=int, metavar="INDEX", help="position of the image in the file, from 0")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file to write [default: FILE-INDEX.jpg or .png in this folder]",
    )
    options = parser.parse_args(argv)
    with importing():
        from engine.data.beton.reader import open_beton
        from engine.data.edit.extract import extract

    beton = open_beton(options.file)
    if not 0 <= options.index < beton.num_samples:
        raise UserError(f"{beton.path} has images 0 to {beton.num_samples - 1}: there is no {options.index}")
    image = extract(beton, options.index)
    output = options.output or Path(f"{beton.path.stem}-{options.index}{image.suffix}")
    if output.suffix.lower() not in _ALSO[image.suffix]:
        raise UserError(
            f"{output}: image {options.index} is written as {image.suffix}: give the output that suffix"
        )
    if output.exists():
        raise UserError(f"{output} already exists: choose another --output")
    with atomic_write(output) as file:
        file.write(image.content)
    print(describe(beton, options.index))
    print(f"wrote {output}, {len(image.content):,} bytes")
    if not image.sound:
        print(f"BAD {beton.path}: image {options.index} has changed since it was written (wrong checksum)")
    return EXIT_DONE if image.sound else EXIT_MISSED


def describe(beton: "Beton", sample: int) -> str:
    """Such as "image 5: n01440764/n01440764_18.JPEG, label 0 (n01440764), 500 x 375" (width x height in pixels)."""
    label, image, manifest = int(beton.labels[sample]), beton.images[sample], beton.manifest
    name = f" {manifest.ids[sample]}," if manifest else ""
    class_name = f" ({manifest.classes[label]})" if manifest else ""
    return f"image {sample}:{name} label {label}{class_name}, {image['width']} x {image['height']}"
