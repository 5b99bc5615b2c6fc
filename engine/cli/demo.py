"""`python -m engine demo RUN [RUN2 ...]`: a page in the browser for trying trained networks on pictures."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError
from engine.train.ranks.process import limit_spinning

if TYPE_CHECKING:
    from engine.demo.demo_page import Sample
    from engine.predict.trained import Trained

_DESCRIPTION = """Serve a page for trying trained networks on pictures, until Ctrl-C.

A visitor uploads or pastes a picture, or takes one of the validation file, and sees each network's five likeliest \
classes, where it looks (Grad-CAM), what it is and what it reached. Several runs stand side by side.

--to space writes the folder that a Hugging Face Space runs instead, as `python -m engine export RUN --to space` does.

The page listens on this machine alone. With --host 0.0.0.0 everyone who reaches this machine can use it: there is no \
password. Pictures stay in memory while a page is open; nothing is stored or sent elsewhere."""

_HOST, _PORT = "127.0.0.1", 8501
_MEGABYTES, _MEGAPIXELS = 20, 100


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C (KeyboardInterrupt). Raises UserError for a run, an address or a port that can't be used."""
    asked = _parse(argv)
    if asked.to:
        return _export(asked)
    limit_spinning()
    with importing():
        try:
            from engine.demo.demo_server import Content, free_address, is_loopback, serve
        except ModuleNotFoundError as error:
            if error.name != "streamlit":
                raise
            raise UserError(
                "the demo needs streamlit, which is not installed: pip install 'imagenet-engine[demo]' (or streamlit "
                "and grad-cam)"
            ) from None
        from engine.demo.demo_page import Limits
        from engine.demo.shown_model import ShownModel, names_of
        from engine.limits import limit_threads
        from engine.predict.trained import load_trained

    limit_threads()
    # Before the networks are read.
    address, port = free_address(asked.host, asked.port)
    trained = [load_trained(run, device=asked.device, names=asked.names) for run in asked.runs]
    for note in [note for one in trained for note in one.notes]:
        print(f"note: {note}", file=sys.stderr)
    models = [ShownModel(one, name) for one, name in zip(trained, names_of(trained), strict=True)]
    for model in models:
        if model.why_not_cam:
            print(f"note: {model.name}: no Grad-CAM: {model.why_not_cam}", file=sys.stderr)
    samples = _samples(asked.val, trained[0])
    limits = Limits(asked.max_megabytes, asked.max_megapixels)

    def tell(url: str) -> None:
        where = "on this machine alone" if is_loopback(address) else "for everyone who reaches this machine"
        print(f"{url}   ({where}; Ctrl-C ends it)", flush=True)

    serve(Content(models, samples, limits), address, port, tell)
    return EXIT_DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m engine demo", _DESCRIPTION, "RUN [RUN2 ...] [--port N] [--to space]")
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or a file of weights"
    )
    parser.add_argument(
        "--val",
        type=Path,
        metavar="FILE",
        help=".beton file for samples; default: the first run's validation file",
    )
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="readable names of the classes, one a line in their order"
    )
    parser.add_argument("--host", default=_HOST, help=f"address to listen on; default: {_HOST}")
    parser.add_argument(
        "--port", type=_port, default=_PORT, help=f"port; 0: any that is free; default: {_PORT}"
    )
    parser.add_argument(
        "--max-megabytes",
        type=_up_to(500),
        default=_MEGABYTES,
        metavar="N",
        help=f"size of a file that a visitor may upload, in MB; default: {_MEGABYTES}",
    )
    parser.add_argument(
        "--max-megapixels",
        # Of more, Pillow says by itself that they are an attack.
        type=_up_to(178),
        default=_MEGAPIXELS,
        metavar="N",
        help=f"pixels that a picture may have, in millions; default: {_MEGAPIXELS}",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (a GPU where there is one), cpu, cuda, cuda:N, mps or xpu; default: auto",
    )
    parser.add_argument(
        "--to", choices=("space",), help="write a Hugging Face Space of one run, and serve nothing"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="with --to: the folder to write")
    asked = parser.parse_args(argv)
    if asked.to and len(asked.runs) > 1:
        raise UserError(
            "--to space takes one run: a Space holds one network; give the others Spaces of their own"
        )
    if asked.output and not asked.to:
        raise UserError("--output is for --to space: add that, or drop it")
    return asked


def _export(asked: argparse.Namespace) -> int:
    """Do what the verb export does; its default folder and its proof are used."""
    from engine.cli import export

    given = {"--output": asked.output, "--data": asked.val, "--names": asked.names}
    options = [word for option, value in given.items() if value for word in (option, str(value))]
    return export.main([str(asked.runs[0]), "--to", asked.to, *options])


def _port(value: str) -> int:
    if not value.isdecimal() or int(value) >= 2**16:
        raise argparse.ArgumentTypeError(
            f"{value!r} is no port: give 1024 to 65535, or 0 for any that is free"
        )
    return int(value)


def _up_to(most: int) -> Callable[[str], int]:
    def number(value: str) -> int:
        if not value.isdecimal() or not 1 <= int(value) <= most:
            raise argparse.ArgumentTypeError(f"{value!r} is no whole number from 1 to {most}")
        return int(value)

    return number


def _samples(val: Path | None, trained: "Trained") -> "list[Sample]":
    """Images of the file that was given, else of the run's; a note where there is none."""
    from engine.data.beton.reader import open_beton
    from engine.demo.val_samples import samples_of, validation_file

    if val is not None:
        return samples_of(open_beton(val), trained)
    try:
        return samples_of(open_beton(validation_file(trained)), trained)
    except UserError as error:
        print(f"note: no samples on the page: {error}", file=sys.stderr)
        return []
