"""Options that stages share, and a parser that refuses in one line what can't be used."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.harness.method import LEAST_ROUNDS
from benchmarks.harness.pairing import FORMS, pairs, peer_names
from benchmarks.sides import OURS
from engine.errors import UserError
from engine.runs.machine import machine

_MOST_IMAGES = 10**8
MADE_UP = "default: made-up photos"
NOT_IN_CACHE = "enough that they don't fit into the processor's cache"


class Parser(argparse.ArgumentParser):
    """The options of `python -m benchmarks NAME`; `add_*` add those that several stages have."""

    def __init__(self, name: str, description: str | None, words: str = "") -> None:
        """`name`: of the stage or command; `description`: its docstring; `words`: arguments beside the options."""
        prog = f"python -m benchmarks {name}"
        super().__init__(
            prog=prog, usage=f"{prog} [options]{words}", description=description, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` lists the options")

    def add_data(self) -> None:
        """`--data`: where the images come from."""
        self.add_argument("--data", type=Path, help=f"folder or tar of images ({MADE_UP})")

    def add_json(self) -> None:
        """`--json`: the file of the records."""
        self.add_argument("--json", type=Path, metavar="FILE", help="write the records, and a table as .md")

    def add_images(self, default: str) -> None:
        """`--images`; `default`: its default in words."""
        words = f"images in the file, repeated as needed (default: {default})"
        self.add_argument("--images", type=whole(1, _MOST_IMAGES), help=words)

    def add_rounds(self, default: int = LEAST_ROUNDS, most: int = 1000) -> None:
        """`--rounds` of each side."""
        words = f"rounds of each side (default: {default})"
        self.add_argument("--rounds", type=whole(LEAST_ROUNDS, most), default=default, help=words)

    def add_seconds(self, default: float) -> None:
        """`--seconds`: the length of a round."""
        words = f"approximate length of a round (default: {default:g})"
        self.add_argument("--seconds", type=seconds, default=default, help=words)

    def add_batch(self, default: int, least: int = 1) -> None:
        """`--batch`: images in a batch."""
        words = f"images in a batch (default: {default})"
        self.add_argument("--batch", type=whole(least, 65536), default=default, help=words)

    def add_resolutions(self, default: Sequence[int], least: int = 8) -> None:
        """`--resolution`: one or several."""
        words = f"pixels (default: {','.join(map(str, default))})"
        self.add_argument("--resolution", type=list_of(whole(least, 4096)), default=list(default), help=words)

    def add_device(self) -> None:
        """`--device`, for `device_named`."""
        self.add_argument(
            "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU if there is one"
        )

    def add_form(self) -> None:
        """`--form`: when a batch counts as ready."""
        forms = "; ".join(f"{name}: {text}" for name, text in FORMS.items())
        self.add_argument(
            "--form",
            choices=list(FORMS),
            default="host",
            help=f"form of the batches: {forms} (default: host)",
        )


def loader_parser(stage: str, description: str | None, batch: int) -> Parser:
    """A parser for a stage that compares loaders; `batch`: the default of --batch."""
    parser = Parser(stage, description)
    add = parser.add_argument
    names, ours = ", ".join(peer_names("loader")), ", ".join(OURS["loader"])
    add("--against", type=list_of(str), action="extend", help=f"peers; choices: {names} (default: ffcv)")
    add(
        "--ours", type=list_of(str), default=None, help=f"choices: {ours} (default: those usual for the peer)"
    )
    parser.add_data()
    parser.add_json()
    parser.add_batch(batch)
    parser.add_rounds()
    return parser


def parse_loaders(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The options, with `pairs` of (ours, peer). Raises UserError, one line, for what can't be used."""
    options = parser.parse_args(argv)
    # Stages without --form measure batches in host memory.
    form = getattr(options, "form", "host")
    options.pairs = pairs("loader", options.against or ["ffcv"], options.ours, form)
    check_files(options.data, options.json)
    return options


def check_files(data: Path | None, json: Path | None) -> None:
    """Raise UserError where `--data` does not exist, or `--json` could not be written after the measurement."""
    if data and not data.exists():
        raise UserError(f"--data {data} does not exist: give a folder or a tar of images")
    if json:
        _check_json(json)


def check_outputs(paths: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Raise UserError for a file that can't be written, or would replace another output or an input."""
    taken = {path.resolve() for path in inputs}
    for path in paths:
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise UserError(f"{path} can't be written: give a file in a folder that exists and is yours")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} can't be written: it exists and is not a file; give another name")
        if path.resolve() in taken:
            raise UserError(f"{path} is named twice: one output would overwrite the other; give another name")
        taken.add(path.resolve())


def check_cores(cores: Sequence[int]) -> None:
    """Raise UserError for more cores than this process may use."""
    available = machine()["cores"]
    if max(cores) > available:
        raise UserError(f"--cores {max(cores)}: this process may use {available}")


def gpu_is_missing(form: str) -> bool:
    """Whether `form` needs a GPU and there is none; prints a line then."""
    if form != "cuda" or _cuda_present():
        return False
    print("skipped: no CUDA device")
    return True


def device_named(name: str) -> str:
    """cpu or cuda; auto is cuda where there is a GPU. Raises UserError for a GPU that is not there."""
    present = name != "cpu" and _cuda_present()
    if name == "cuda" and not present:
        raise UserError("--device cuda: torch sees no GPU here; `python -m engine doctor` says why")
    return "cuda" if present else "cpu"


def list_of(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of values separated by commas."""

    def parse_list(text: str) -> list[Any]:
        return [item(part) for part in text.split(",")]

    # argparse's message names the type by this.
    parse_list.__name__ = getattr(item, "__name__", "value")
    return parse_list


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse_word(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    parse_word.__name__ = f"choice of {', '.join(choices)}"
    return parse_word


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of a whole number within bounds."""

    def parse_whole(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    parse_whole.__name__ = f"whole number from {low} to {high}"
    return parse_whole


def _above_zero(most: float, name: str) -> Callable[[str], float]:
    def parse_number(text: str) -> float:
        value = float(text)
        if not 0 < value <= most:
            raise ValueError
        return value

    parse_number.__name__ = f"{name} above 0, at most {most:g}"
    return parse_number


share = _above_zero(1, "share")
seconds = _above_zero(3600, "number of seconds")


def _cuda_present() -> bool:
    # torch takes seconds to import, and this process needs it only for a GPU run.
    import torch

    return torch.cuda.is_available()


def _check_json(path: Path) -> None:
    """Refuse before the measurement a file that could not be written after it."""
    if path.suffix in (".md", ".html"):
        raise UserError(f"--json {path}: a table or page gets that name; give one that ends in .json")
    check_outputs([path, path.with_suffix(".md")])
