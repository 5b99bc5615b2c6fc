"""`python -m engine verify FILE...`: check that .beton files are complete and their images unchanged."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, EXIT_MISSED, UserError, describe_os_error
from engine.progress import human_bytes, human_rate

if TYPE_CHECKING:
    from engine.data.beton.reader import Beton
    from engine.data.edit.verify import Verified

_DESCRIPTION = """Check that .beton files are complete and that every image's checksum is right.

In files without checksums (stock ffcv's) every JPEG is decoded instead. Exit code: 0 all sound, 1 damage found, 2 a
file can't be opened."""

_SHOWN = 100


def main(argv: Sequence[str]) -> int:
    """Print a line for each file and each bad record; returns 0 when all is sound, else 1.

    Raises UserError for a file that is missing or can't be opened, before any is read.
    """
    parser = CommandParser("python -m engine verify", _DESCRIPTION, "FILE... [options]")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a .beton file, ours or stock ffcv's"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="check only header, tables and manifest, without reading any image",
    )
    parser.add_argument(
        "--all", action="store_true", help=f"list all bad records, not only the first {_SHOWN} per file"
    )
    options = parser.parse_args(argv)
    for path in options.files:
        _check_readable(path)
    sound = [_verify(path, options.quick, None if options.all else _SHOWN) for path in options.files]
    return EXIT_DONE if all(sound) else EXIT_MISSED


def _check_readable(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file: give the path of a .beton file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise describe_os_error(error, path, "open") from None


def _verify(path: Path, quick: bool, shown: int | None) -> bool:
    """Whether the file is sound; prints that, or what is wrong."""
    with importing():
        from engine.data.beton.pair import class_doubts
        from engine.data.beton.reader import open_beton
        from engine.data.edit.verify import verify

    try:
        beton = open_beton(path)
        for doubt in class_doubts(beton):
            print(f"note: {doubt}", flush=True)
        if quick:
            print(
                f"{path}: structure sound, {beton.num_samples:,} images; none was read (--quick)", flush=True
            )
            return True
        found = verify(beton)
    except UserError as error:
        print(f"BAD {error}", flush=True)
        return False
    for line in _report(beton, found, shown):
        print(line, flush=True)
    return not found.bad


def _report(beton: "Beton", found: "Verified", shown: int | None) -> list[str]:
    rate = human_rate(found.bytes, found.seconds, "bytes")
    read = f"{human_bytes(found.bytes)} read in {found.seconds:.1f} s, {rate}"
    verdict = f"{len(found.bad):,} of {beton.num_samples:,} images are bad" if found.bad else "sound"
    if beton.checksums is None:
        how = "no checksums in this file: its JPEGs were decoded instead, which misses some kinds of damage"
        if found.unchecked:
            how += f", and {found.unchecked:,} images without checksum that decoding can't check at all"
    else:
        how = f"each of {beton.num_samples:,} images compared with its checksum"
    lines = [f"{'BAD ' if found.bad else ''}{beton.path}: {verdict}; {how}; {read}"]
    for bad in found.bad[:shown]:
        name = f" ({beton.manifest.ids[bad.sample]})" if beton.manifest else ""
        start, size = int(beton.images["data_ptr"][bad.sample]), int(beton.sizes[bad.sample])
        lines.append(f"  sample {bad.sample}{name}, bytes {start} to {start + size - 1}: {bad.reason}")
    if len(found.bad) > len(lines) - 1:
        lines.append(f"  and {len(found.bad) - len(lines) + 1:,} more (--all names them)")
    if found.gaps:
        lines.append(
            f"  {human_bytes(found.gaps)} between the records: padding, which is never read or checked"
        )
    return lines
