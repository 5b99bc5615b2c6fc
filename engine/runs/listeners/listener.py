"""What a listener to a run's log is given, and what it has to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.config.train.logging import LoggingConfig
from engine.registry import Registry
from engine.runs.log_schema import LogLine


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A run that begins or is resumed: its folder, its resolved configuration by section, its log so far."""

    folder: Path
    config: dict[str, dict[str, Any]]
    options: LoggingConfig
    lines: Sequence[LogLine]
    """Those of earlier processes; empty for a new run."""


class Listener(Protocol):
    """Open from construction to `close`. Any of these may raise anything: the listener is dropped then."""

    def write(self, line: LogLine) -> None:
        """A line of log.jsonl, which is on the disk already."""

    def close(self) -> None:
        """The run, or this process of it, is over. Called once."""


LISTENERS: Registry[Callable[[Beginning], Listener]] = Registry("logging.also")
"""Filled by this folder's files. engine.config.train.logging, below this layer, names them as well."""

WITHIN_EPOCH = ("train_loss", "lr")
"""Which figures of a StepsLine are drawn."""


def figures(line: LogLine) -> dict[str, float]:
    """The numbers of a line by key, without booleans and nulls."""
    return {
        key: float(value)
        for key, value in line.to_json().items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def within_epoch(line: LogLine) -> dict[str, Any]:
    """The figures of WITHIN_EPOCH by tag."""
    return {f"steps/{key}": getattr(line, key) for key in WITHIN_EPOCH}


def plain_line(error: BaseException) -> str:
    """An exception's own words in one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
