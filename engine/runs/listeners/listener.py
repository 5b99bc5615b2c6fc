"""What a further log is given, and what it has to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.config.train.logging import LoggingConfig
from engine.runs.log_reader import Line


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A run that begins, or goes on: its folder, its resolved configuration by section, its log so far."""

    folder: Path
    config: dict[str, dict[str, Any]]
    options: LoggingConfig
    lines: Sequence[Line]
    """Those of the processes before; empty for a new run."""


class Logger(Protocol):
    """A further log, open from construction to `close`. Any of these may raise anything: it is left out then."""

    def write(self, line: Line) -> None:
        """A line of log.jsonl, which is on the disk already: `kind` start, steps, epoch or result; more may come."""

    def close(self) -> None:
        """The run is over, or this process of it. Called once."""


WITHIN_EPOCH = ("train_loss", "lr")
"""Which figures of a line of steps are drawn."""


def figures(line: Line) -> dict[str, float]:
    """The numbers of a line by key; truths and what is not known are none of them."""
    return {
        key: float(value)
        for key, value in line.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def plain_line(error: BaseException) -> str:
    """An exception's own words in one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
