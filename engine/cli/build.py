"""`python -m engine build`: compile the C decoders for this machine. `make setup` runs it."""

from collections.abc import Sequence

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE

_DESCRIPTION = """Compile the C decoders for this machine; `make setup` runs this.

Without a C compiler the slower numba decoders are used. Without libjpeg-turbo's headers only the JPEG decoder is left
out."""


def main(argv: Sequence[str]) -> int:
    """Build the library and print its name; returns 0. Raises UserError when it can't be built."""
    CommandParser("python -m engine build", _DESCRIPTION, "[-h]").parse_args(argv)
    with importing():
        from engine.data.native.compile import build, libjpeg_flags

    path = build()
    missing = "" if libjpeg_flags() else ", without JPEG: install libjpeg-turbo's headers (libjpeg-dev)"
    print(f"built {path.name}{missing}")
    return EXIT_DONE
