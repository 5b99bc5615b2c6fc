"""The command-line parser of both scripts and of every verb: one-line mistakes, help of at most 100 columns."""

import argparse
import shutil
import textwrap
from typing import NoReturn

from engine.errors import UserError

WIDTH = 100
"""No line of a help text is longer, however wide the terminal is."""


def help_width() -> int:
    """Columns of a help text on this terminal, at most WIDTH."""
    return max(40, min(WIDTH, shutil.get_terminal_size().columns))


class CommandParser(argparse.ArgumentParser):
    """argparse, with a mistake on the command line as a UserError of one line instead of the whole usage text."""

    def __init__(self, prog: str, description: str, usage: str, *, allow_abbrev: bool = True) -> None:
        """`usage` is what follows `prog` in the usage line; empty lines in `description` separate paragraphs."""
        super().__init__(
            prog=prog,
            usage=f"%(prog)s {usage}",
            description=description,
            formatter_class=_Paragraphs,
            allow_abbrev=allow_abbrev,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class _Paragraphs(argparse.HelpFormatter):
    """argparse's layout, with the paragraphs of the description kept apart."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=help_width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            textwrap.fill(
                " ".join(part.split()),
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            for part in paragraphs
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)
