"""Options that the stages share, and a parser that says in one line what can't be used."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.method import LEAST_ROUNDS
from benchmarks.peers import FORMS, OURS, pairs, peer_names
from engine.errors import UserError
from engine.report.machine import machine

_MOST_IMAGES = 10**8


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all commands of the project do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` tells the options")


def stage_parser(stage: str, description: str | None, batch: int) -> Parser:
    """A parser with what every stage that compares loaders takes; `batch` is the stage's usual one."""
    parser = Parser(prog=f"python -m benchmarks {stage}", description=description, allow_abbrev=False)
    add = parser.add_argument
    names, ours = ", ".join(peer_names()), ", ".join(OURS)
    add("--against", type=list_of(str), action="extend", help=f"peers, of: {names} (default: ffcv)")
    add("--ours", type=list_of(str), default=None, help=f"of: {ours} (default: those usual for the peer)")
    add("--data", type=Path, help="folder or tar of images (default: made-up photos)")
    add("--json", type=Path, metavar="FILE", help="write the records there, and a table beside it as .md")
    add("--batch", type=whole(1, 65536), default=batch, help=f"images in a batch (default: {batch})")
    add("--rounds", type=whole(LEAST_ROUNDS, 1000), default=LEAST_ROUNDS, help="of each side (default: 5)")
    return parser


def add_images(parser: Parser, default: str) -> None:
    """`--images`; `default` says how many are taken without it."""
    parser.add_argument(
        "--images",
        type=whole(1, _MOST_IMAGES),
        help=f"images in the file, repeated as needed (default: {default})",
    )


def add_form(parser: Parser) -> None:
    """`--form`: when a batch counts as ready."""
    forms = "; ".join(f"{name}: {text}" for name, text in FORMS.items())
    parser.add_argument(
        "--form", choices=list(FORMS), default="host", help=f"what batches end as: {forms} (default: host)"
    )


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The options, with `pairs` (ours, peer). Raises UserError, one line, for what can't be used."""
    options = parser.parse_args(argv)
    # Stages without --form measure batches in host memory.
    options.pairs = pairs(options.against or ["ffcv"], options.ours, getattr(options, "form", "host"))
    check_files(options.data, options.json)
    return options


def check_files(data: Path | None, json: Path | None) -> None:
    """Raise UserError when `--data` is not there, or `--json` could not be written after the measurement."""
    if data and not data.exists():
        raise UserError(f"--data {data} does not exist: give a folder or a tar of images")
    if json:
        _check_json(json)


def check_outputs(paths: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Raise UserError for a file that can't be written, or would take the place of another or of what is read."""
    taken = {path.resolve() for path in inputs}
    for path in paths:
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise UserError(f"{path} can't be written: give a file in a folder that exists and is yours")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} can't be written: it is there already, and no file; give another name")
        if path.resolve() in taken:
            raise UserError(f"{path} is named twice: what is written there would replace the other")
        taken.add(path.resolve())


def check_cores(cores: Sequence[int]) -> None:
    """Raise UserError for more cores than this process may use."""
    available = machine()["cores"]
    if max(cores) > available:
        raise UserError(f"--cores {max(cores)}: this process may use {available}")


def gpu_is_missing(form: str) -> bool:
    """Whether `form` needs a GPU that is not there, in which case this says so."""
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
    """Parses values with commas between them."""

    def parse_list(text: str) -> list[Any]:
        return [item(part) for part in text.split(",")]

    # argparse names the type by this in its message.
    parse_list.__name__ = getattr(item, "__name__", "value")
    return parse_list


def one_of(*choices: str) -> Callable[[str], str]:
    """Parses one of these words."""

    def parse_word(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    parse_word.__name__ = f"choice of {', '.join(choices)}"
    return parse_word


def whole(low: int, high: int) -> Callable[[str], int]:
    """Parses a whole number within bounds."""

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
    # torch takes seconds to import, and only a GPU run needs it in this process.
    import torch

    return torch.cuda.is_available()


def _check_json(path: Path) -> None:
    """Refuse before the measurement what could not be written after it."""
    if path.suffix in (".md", ".html"):
        raise UserError(f"--json {path}: a table or page gets that name; give one that ends in .json")
    check_outputs([path, path.with_suffix(".md")])
