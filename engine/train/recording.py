"""Where a run is written down, as far as the one that runs it needs to know."""

from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from engine.train.outlook import Outlook


class Record(Protocol):
    """A run's folder and log (engine.runs.run_writer.RunRecord)."""

    folder: Path

    @property
    def finished(self) -> bool: ...
    def start(self, facts: dict[str, Any]) -> None: ...
    def live(self, outlook: Outlook) -> "tqdm[Any]": ...
    def steps(self, entry: dict[str, Any]) -> None: ...
    def epoch(self, entry: dict[str, Any]) -> None: ...
    def finish(self, result: dict[str, Any]) -> None: ...
