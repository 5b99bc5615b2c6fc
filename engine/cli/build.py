"""`python -m engine build`: compile the C decoders for this machine. `make setup` runs it.

Without a compiler the numba decoders are used, which are slower; without libjpeg-turbo's headers only the JPEG decoder
is missing.
"""

import argparse
from collections.abc import Sequence

from engine.data.native.compile import build, libjpeg_flags


def main(argv: Sequence[str]) -> int:
    """Build and say where; 0. Raises UserError when it can't be done."""
    argparse.ArgumentParser(prog="python -m engine build", description=__doc__).parse_args(argv)
    path = build()
    missing = "" if libjpeg_flags() else ", without JPEG: install libjpeg-turbo's headers (libjpeg-dev)"
    print(f"built {path.name}{missing}")
    return 0
