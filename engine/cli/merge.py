"""`python -m engine merge OUTPUT INPUT...`: one .beton of several, such as a conversion's shards, without decoding."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.config.options import options_of
from engine.config.write import RulesConfig
from engine.data.edit.merge import merge
from engine.data.edit.shard_copies import CopyRules
from engine.progress import human_bytes, human_time


def main(argv: Sequence[str]) -> int:
    """Write the file and say what it came to. Raises UserError when the inputs don't go together or one is damaged."""
    parser = argparse.ArgumentParser(
        prog="python -m engine merge",
        description=f"{__doc__} Each record's checksum is compared on the way. Of all shards of a conversion it makes "
        "the file that the conversion would have made in one go, with images listed that are there twice.",
    )
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help="the file to write; must not be there yet"
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="files with the same classes, in the order wanted; shards may come in any order",
    )
    parser.add_argument("--partial", action="store_true", help="go without shards that are missing")
    parser.add_argument(
        "--val",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="merging train's shards: all shards of val, whose images are looked for in train (leak)",
    )
    for name, what in (
        ("duplicate", "images of the same content as one before, in the merged order"),
        ("leak", "images of train of the same content as one of val"),
    ):
        choices = options_of(RulesConfig)[name].choices
        text = f"shards: {what}: keep and list them, leave them out (skip), or write nothing (fail)"
        parser.add_argument(f"--{name}", choices=choices, default="keep", help=text)
    options = parser.parse_args(argv)
    rules = CopyRules(duplicate=options.duplicate, leak=options.leak)
    merged = merge(options.output, options.inputs, options.partial, val=options.val, rules=rules)
    done = merged.file
    for note in merged.notes:
        print(note)
    print(
        f"wrote {options.output}: {done.samples:,} images of {len(options.inputs):,} files, "
        f"{human_bytes(done.bytes)}, {human_time(done.seconds)}"
    )
    return 0
