"""`python -m engine merge OUTPUT INPUT...`: one .beton of several, such as a conversion's shards, without decoding."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.data.merge import merge
from engine.data.progress import human_bytes, human_time


def main(argv: Sequence[str]) -> int:
    """Write the file and say what it came to. Raises UserError when the inputs don't go together or one is damaged."""
    parser = argparse.ArgumentParser(
        prog="python -m engine merge",
        description=f"{__doc__} Each record's checksum is compared on the way. Of all shards of a conversion it makes "
        "the file that the conversion would have made in one go, except that shards don't look for images that are "
        "there twice (python -m engine audit does).",
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
    options = parser.parse_args(argv)
    done = merge(options.output, options.inputs, options.partial)
    print(
        f"wrote {options.output}: {done.samples:,} images of {len(options.inputs):,} files, "
        f"{human_bytes(done.bytes)}, {human_time(done.seconds)}"
    )
    return 0
