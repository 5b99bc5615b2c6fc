"""`python -m engine merge OUTPUT INPUT...`: one .beton of several, such as a conversion's shards, without decoding."""

from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.config.options import options_of
from engine.config.write import RulesConfig
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE
from engine.progress import human_bytes, human_time

_DESCRIPTION = """Join .beton files into one, without decoding any image.

Each record's checksum is compared on the way. All shards of a conversion (--output.shard) give the same file as a
conversion in one go; images with the same content are listed."""


def main(argv: Sequence[str]) -> int:
    """Write the file and report its size; returns 0. Raises UserError for inputs that don't fit or are damaged."""
    parser = _parser()
    options = parser.parse_args(argv)
    with importing():
        from engine.data.edit.merge import merge
        from engine.data.edit.shard_copies import CopyRules

    rules = CopyRules(duplicate=options.duplicate, leak=options.leak, conflict=options.conflict)
    merged = merge(options.output, options.inputs, options.partial, val=options.val, rules=rules)
    done = merged.file
    for note in merged.notes:
        print(note)
    print(
        f"wrote {options.output}: {done.samples:,} images of {len(options.inputs):,} files, "
        f"{human_bytes(done.bytes)}, {human_time(done.seconds)}"
    )
    return EXIT_DONE


def _parser() -> CommandParser:
    parser = CommandParser("python -m engine merge", _DESCRIPTION, "OUTPUT INPUT... [options]")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="file to write; must not exist yet")
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="files with the same classes, in the order wanted; shards may be given in any order",
    )
    parser.add_argument("--partial", action="store_true", help="merge even if shards are missing")
    parser.add_argument(
        "--val",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="when merging train's shards: all shards of val, to find images that occur in both (see --leak)",
    )
    for name, what in (
        (
            "duplicate",
            "images with the same content as an earlier one, in the merged order",
        ),
        ("leak", "training images with the same content as a validation image"),
        ("conflict", "images with the same content as one of another class"),
    ):
        choices = options_of(RulesConfig)[name].choices
        text = f"shards: {what}. keep: keep and list them; skip: leave them out; fail: write nothing [default: keep]"
        parser.add_argument(f"--{name}", choices=choices, default="keep", help=text)
    return parser
