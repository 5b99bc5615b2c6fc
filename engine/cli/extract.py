"""`python -m engine extract FILE INDEX`: one image of a .beton as a file, its JPEG's own bytes or else a PNG."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.data.beton.reader import Beton, open_beton
from engine.data.edit.extract import extract
from engine.errors import UserError
from engine.files import atomic_write

_ALSO = {".jpg": (".jpg", ".jpeg"), ".png": (".png",)}


def main(argv: Sequence[str]) -> int:
    """Write the image and say what it is; 0, or 1 when its record is not what was written.

    Raises UserError when the file can't be read, has no such image, or the output can't be written.
    """
    parser = argparse.ArgumentParser(prog="python -m engine extract", description=__doc__)
    parser.add_argument("file", type=Path, help="a .beton file, ours or stock ffcv's")
    parser.add_argument("index", type=int, metavar="INDEX", help="the image's number in the file, from 0")
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="default: FILE-INDEX.jpg or .png, in this folder"
    )
    options = parser.parse_args(argv)
    beton = open_beton(options.file)
    if not 0 <= options.index < beton.num_samples:
        raise UserError(f"{beton.path} has images 0 to {beton.num_samples - 1}: there is no {options.index}")
    image = extract(beton, options.index)
    output = options.output or Path(f"{beton.path.stem}-{options.index}{image.suffix}")
    if output.suffix.lower() not in _ALSO[image.suffix]:
        raise UserError(f"{output}: image {options.index} comes as {image.suffix}: name the output so")
    if output.exists():
        raise UserError(f"{output} is there already: choose another --output")
    with atomic_write(output) as file:
        file.write(image.content)
    print(describe(beton, options.index))
    print(f"wrote {output}, {len(image.content):,} bytes")
    if not image.sound:
        print(f"BAD {beton.path}: image {options.index} is not what was written (the checksum differs)")
    return 0 if image.sound else 1


def describe(beton: Beton, sample: int) -> str:
    """Such as "image 5: n01440764/n01440764_18.JPEG, label 0 (n01440764), 500 x 375"."""
    label, image, manifest = int(beton.labels[sample]), beton.images[sample], beton.manifest
    name = f" {manifest.ids[sample]}," if manifest else ""
    class_name = f" ({manifest.classes[label]})" if manifest else ""
    return f"image {sample}:{name} label {label}{class_name}, {image['width']} x {image['height']}"
