"""`python -m engine inspect FILE`: the content of a .beton, and a contact sheet of some of its images by class."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError
from engine.files import atomic_write
from engine.progress import human_bytes

if TYPE_CHECKING:
    import numpy as np

    from engine.data.beton.manifest import Manifest
    from engine.data.beton.reader import Beton

_DESCRIPTION = """Summarise a .beton file: images, sizes, classes, settings of the conversion, rejected images.

It also draws a contact sheet, a PNG of random images sorted by class."""

_SHOWN = 10
_EXTREMES = 3


def main(argv: Sequence[str]) -> int:
    """Print the summary and draw the sheet; returns 0. Raises UserError for a file that is damaged or missing."""
    options = _parser().parse_args(argv)
    path = options.sheet or Path(f"{options.file.name}.sheet.png")
    _check(path, options.samples, options.seed)
    with importing():
        from engine.data.beton.reader import open_beton
        from engine.data.edit.contact_sheet import draw_sheet

    beton = open_beton(options.file)
    for name, value in summary(beton, None if options.rejects else _SHOWN):
        print(f"{name:<12} {value}".rstrip())
    if not options.no_sheet:
        picture = draw_sheet(beton, options.samples, options.seed)
        with atomic_write(path) as file:
            picture.save(file, "png")
        print(f"{'sheet':<12} {path}: {min(options.samples, beton.num_samples)} random images by class")
    return EXIT_DONE


def _parser() -> CommandParser:
    parser = CommandParser("python -m engine inspect", _DESCRIPTION, "FILE [options]")
    parser.add_argument("file", type=Path, metavar="FILE", help="a .beton file, ours or stock ffcv's")
    sheet = parser.add_mutually_exclusive_group()
    sheet.add_argument(
        "--sheet",
        type=Path,
        metavar="PATH.png",
        help="contact sheet to write [default: FILE.sheet.png in this folder]",
    )
    sheet.add_argument("--no-sheet", action="store_true", help="draw no contact sheet")
    parser.add_argument(
        "--samples", type=int, default=64, metavar="N", help="images on the sheet, 1 to 1000 [default: 64]"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed that selects the images [default: 0]"
    )
    parser.add_argument(
        "--rejects", action="store_true", help=f"list all rejected images, not only the first {_SHOWN}"
    )
    return parser


def _check(sheet: Path, samples: int, seed: int) -> None:
    if sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: the sheet is a PNG: give it a name that ends in .png")
    if not 1 <= samples <= 1000:
        raise UserError(f"--samples {samples} is not a whole number from 1 to 1000")
    if seed < 0:
        raise UserError(f"--seed {seed} must be at least 0")


def summary(beton: "Beton", rejects: int | None = _SHOWN) -> Iterator[tuple[str, str]]:
    """Name and text of each line; at most `rejects` rejected images are listed (None: all)."""
    import numpy as np

    from engine.data.beton.pair import class_doubts
    from engine.data.storage.formats import describe_modes

    per_class = np.bincount(beton.labels, minlength=beton.num_classes)
    yield "file", f"{beton.path}, {human_bytes(beton.path.stat().st_size)}"
    yield "images", f"{beton.num_samples:,} ({describe_modes(beton.images['mode'])})"
    yield "width", _spread(beton.images["width"], "px")
    yield "height", _spread(beton.images["height"], "px")
    yield "record", _spread(beton.sizes, "bytes")
    yield "checksums", "one for each image" if beton.checksums is not None else "none"
    yield "classes", f"{beton.num_classes:,}; images in one: {_spread(per_class, '')}".rstrip()
    if beton.num_classes > 1:
        by_size = np.argsort(per_class, kind="stable").tolist()
        yield "smallest", _sizes(beton, per_class, by_size[:_EXTREMES])
        yield "largest", _sizes(beton, per_class, by_size[: -_EXTREMES - 1 : -1])
    if beton.manifest is None:
        yield "manifest", "none: stock ffcv wrote this file, without class names"
        yield from (("note", doubt) for doubt in class_doubts(beton))
        return
    yield from _of_manifest(beton.manifest, rejects)


def _of_manifest(manifest: "Manifest", rejects: int | None) -> Iterator[tuple[str, str]]:
    names = manifest.classes
    yield "names", ", ".join(names[:_SHOWN]) + (f", ... {names[-1]}" if len(names) > _SHOWN else "")
    yield "split", manifest.split + (f", shard {manifest.shard}" if manifest.shard else "")
    yield "source", f"{manifest.source}, images in the order {manifest.order!r}"
    yield "settings", _pairs(manifest.settings)
    yield "rules", _pairs(manifest.rules) or "none recorded"
    yield "unusual images", _pairs(manifest.odd) or "none recorded"
    yield "rejects", f"{len(manifest.rejects):,} left out"
    yield from _listed([f"{name}: {kind}: {reason}" for name, kind, reason in manifest.rejects], rejects)
    yield "duplicates", f"{len(manifest.duplicates):,} with the same content as another image"
    yield from _listed([f"{name} is {first}" for name, first in manifest.duplicates], _SHOWN)
    yield "licence", manifest.license or "not recorded"
    yield "written by", f"{manifest.created_by or 'not recorded'}; versions: {_pairs(manifest.versions)}"


def _listed(lines: list[str], shown: int | None) -> Iterator[tuple[str, str]]:
    for line in lines[:shown]:
        yield "", line if line.isprintable() else repr(line)
    if shown is not None and len(lines) > shown:
        yield "", f"... and {len(lines) - shown:,} more"


def _sizes(beton: "Beton", per_class: "np.ndarray", labels: list[int]) -> str:
    def name(label: int) -> str:
        return beton.manifest.classes[label] if beton.manifest else f"label {label}"

    return ", ".join(f"{name(label)} ({per_class[label]:,})" for label in labels)


def _pairs(values: dict[str, object] | dict[str, str] | dict[str, int]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _spread(values: "np.ndarray", unit: str) -> str:
    import numpy as np

    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:,.0f} to {high:,.0f} {unit}".rstrip() + f", median {middle:,.0f}"
