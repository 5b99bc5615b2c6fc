"""`python -m engine subset OUTPUT INPUT ...`: some classes, or a share, of a .beton's images, without decoding."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.data.edit.subset import Choice, subset
from engine.errors import UserError, describe_os_error
from engine.progress import human_bytes, human_time


def main(argv: Sequence[str]) -> int:
    """Write the file and say what it came to. Raises UserError for a choice that the input can't fulfil."""
    parser = argparse.ArgumentParser(
        prog="python -m engine subset",
        description=f"{__doc__} Each record's checksum is compared on the way; the images keep their order.",
    )
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help="the file to write; must not be there yet"
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="a .beton file")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these; one name of a file: a class in each line",
    )
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--fraction", type=float, help="this share of each class, above 0 and below 1")
    how_many.add_argument(
        "--count", type=int, help="so many images in all, whatever their classes; all where there are fewer"
    )
    how_many.add_argument("--per-class", type=int, help="so many images of each class")
    parser.add_argument(
        "--seed", type=int, default=0, help="decides which; a smaller share is part of a larger one"
    )
    parser.add_argument(
        "--keep-labels",
        action="store_true",
        help="keep all classes and their labels, rather than number the chosen classes from 0",
    )
    options = parser.parse_args(argv)
    choice = _choice(options)
    done = subset(options.output, options.input, choice)
    if done.samples < choice.count:
        print(f"--count {choice.count:,}: there are but {done.samples:,} to choose from, and all were taken")
    print(
        f"wrote {options.output}: {done.samples:,} images, {human_bytes(done.bytes)}, {human_time(done.seconds)}"
    )
    return 0


def _choice(options: argparse.Namespace) -> Choice:
    if options.fraction is not None and not 0 < options.fraction < 1:
        raise UserError(f"--fraction {options.fraction} is not above 0 and below 1")
    for name in ("count", "per_class"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value} is not at least 1")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} is not at least 0")
    ways = (options.fraction, options.count, options.per_class)
    if not options.classes and not any(ways):
        raise UserError("nothing is chosen: pass --classes, --fraction, --count or --per-class (see --help)")
    return Choice(
        classes=_names(options.classes),
        fraction=options.fraction or 0,
        count=options.count or 0,
        per_class=options.per_class or 0,
        seed=options.seed,
        keep_labels=options.keep_labels,
    )


def _names(given: list[str]) -> tuple[str, ...]:
    """The names given, or those in the file of that name."""
    if len(given) != 1 or not Path(given[0]).is_file():
        return tuple(given)
    path = Path(given[0])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise describe_os_error(error, path, "read") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file: write one class name in each line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{path} names no class: write one in each line")
    return names
