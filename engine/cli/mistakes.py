"""`python -m engine mistakes RUN`: a page of what a trained network gets wrong, with the images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError
from engine.files import atomic_write
from engine.predict.weights_options import add_weights_options, given_of
from engine.runs.folder import MISTAKES
from engine.train.ranks.process import limit_spinning

_DESCRIPTION = """Write a page of what a trained network gets wrong on its validation file.

It shows the wrong images with the largest loss, the classes that are most often confused, and the right images that \
the network is least certain of, each with its five likeliest classes and Grad-CAM; and a table of all classes. The \
page is one HTML file without paths of this machine; it holds up to 66 small images of the data."""


def main(argv: Sequence[str]) -> int:
    """Write the page, print its main figures; returns 0. Raises UserError for bad input."""
    parser = CommandParser("python -m engine mistakes", _DESCRIPTION, "RUN [options]")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or a file of weights")
    parser.add_argument(
        "--val", type=Path, metavar="FILE", help="a .beton file [default: the run's validation file]"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"page to write [default: {MISTAKES} in the run's folder]"
    )
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="readable names of the classes, one a line"
    )
    parser.add_argument(
        "--by-number",
        action="store_true",
        help="take output N for label N, whatever the classes of weights and data are called",
    )
    parser.add_argument(
        "--averaged",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take the averaged weights (EMA), or not; default: those that the run's verdict is about",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N, mps or xpu [default: auto]",
    )
    add_weights_options(parser)
    asked = parser.parse_args(argv)
    out = asked.out or (asked.run if asked.run.is_dir() else Path()) / MISTAKES
    # Better now than after the work.
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: {out.parent} is not a folder; create it, or choose another")
    # It acts on the import of torch.
    limit_spinning()
    with importing():
        from engine.data.beton.reader import open_beton
        from engine.limits import limit_threads
        from engine.predict.mistakes.make_page import make_page, validation_file
        from engine.predict.trained import load_trained
        from engine.train.ranks.process import keep_freed_memory

    keep_freed_memory()
    limit_threads()
    trained = load_trained(
        asked.run,
        device=asked.device,
        names=asked.names,
        averaged=asked.averaged,
        given=given_of(asked),
    )
    found = make_page(trained, open_beton(asked.val or validation_file(trained)), by_number=asked.by_number)
    with atomic_write(out) as file:
        # A name that is not UTF-8 comes as lone surrogates.
        file.write(found.page.encode("utf-8", "replace"))
    print("\n".join([*found.lines, str(out)]))
    return EXIT_DONE
