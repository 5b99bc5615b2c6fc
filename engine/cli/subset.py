"""`python -m engine subset OUTPUT INPUT ...`: some classes, or a fraction, of a .beton's images, without decoding."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError, describe_os_error
from engine.progress import human_bytes, human_time

if TYPE_CHECKING:
    from engine.data.edit.subset import Choice

_DESCRIPTION = """Write some classes, or a random part, of a .beton file to a new file, without decoding any image.

Each record's checksum is compared on the way. The images keep their order."""


def main(argv: Sequence[str]) -> int:
    """Write the file and report its size; returns 0. Raises UserError for a choice that the input can't satisfy."""
    options = _parser().parse_args(argv)
    _check(options)
    with importing():
        from engine.data.edit.subset import subset

    choice = _choice(options)
    done = subset(options.output, options.input, choice)
    if done.samples < choice.count:
        print(f"note: --count {choice.count:,}: only {done.samples:,} images match, all of them were taken")
    print(
        f"wrote {options.output}: {done.samples:,} images, {human_bytes(done.bytes)}, {human_time(done.seconds)}"
    )
    return EXIT_DONE


def _parser() -> CommandParser:
    parser = CommandParser("python -m engine subset", _DESCRIPTION, "OUTPUT INPUT [options]")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="file to write; must not exist yet")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a .beton file")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="take only these classes; the name of a text file stands for the classes in it, one per line",
    )
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument(
        "--fraction", type=float, metavar="X", help="take this fraction of each class, above 0 and below 1"
    )
    how_many.add_argument(
        "--count", type=int, metavar="N", help="take N images in all, of any class; all if there are fewer"
    )
    how_many.add_argument("--per-class", type=int, metavar="N", help="take N images of each class")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed that selects the images; with the same seed a smaller part is contained in a larger one "
        "[default: 0]",
    )
    parser.add_argument(
        "--keep-labels",
        action="store_true",
        help="keep all classes and their labels, instead of numbering the chosen classes from 0",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.fraction is not None and not 0 < options.fraction < 1:
        raise UserError(f"--fraction {options.fraction} must be above 0 and below 1")
    for name in ("count", "per_class"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value} must be at least 1")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} must be at least 0")
    ways = (options.fraction, options.count, options.per_class)
    if not options.classes and not any(ways):
        raise UserError(
            "nothing is selected: pass --classes, --fraction, --count or --per-class (see --help)"
        )


def _choice(options: argparse.Namespace) -> "Choice":
    with importing():
        from engine.data.edit.subset import Choice

    return Choice(
        classes=_names(options.classes),
        fraction=options.fraction or 0,
        count=options.count or 0,
        per_class=options.per_class or 0,
        seed=options.seed,
        keep_labels=options.keep_labels,
    )


def _names(given: list[str]) -> tuple[str, ...]:
    """The names given, or, if the only one is a file, the names in it."""
    if len(given) != 1 or not Path(given[0]).is_file():
        return tuple(given)
    path = Path(given[0])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise describe_os_error(error, path, "read") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file: write one class name per line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{path} names no class: write one per line")
    return names
