"""How a run is shown while it is written: what the run writer needs, and engine/report/run_display.py gives.

The writer stands below the report, so whoever starts a run (train_imagenet.py) passes the display in.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from tqdm import tqdm

from engine.runs.log_schema import AlarmLine, EpochLine, LogLine, ReplanLine
from engine.runs.time_left import Outlook


class LiveBar(tqdm):
    """A run's progress on the terminal: a bar over the images of all its epochs."""

    loss: float | None = None
    """The mean training loss of the latest steps, once there is one."""

    def logged(self, epoch: EpochLine) -> str:
        """Take in a finished epoch; returns the time left in words, or nothing at the end."""
        raise NotImplementedError

    def replanned(self, outlook: Outlook) -> None:
        """The run has another length from now on; `outlook` has all of its epochs, the finished ones too."""
        raise NotImplementedError


class Display(Protocol):
    """Draws runs for the terminal and as a page; writes nothing itself."""

    def live(self, outlook: Outlook, epochs: Sequence[EpochLine], *, shown: bool) -> LiveBar:
        """A bar for a run of which `epochs` are logged already; one that is not `shown` only computes."""
        ...

    def epoch_words(self, epoch: EpochLine) -> str:
        """One epoch in one line."""
        ...

    def replan_words(self, replan: ReplanLine) -> str:
        """A change of the run's length in one line."""
        ...

    def alarm_words(self, alarm: AlarmLine) -> str:
        """An alarm and its likely causes, as a warning."""
        ...

    def summary(self, config: dict[str, Any], lines: Sequence[LogLine]) -> str:
        """What came out of a run, in a few lines."""
        ...

    def page(self, config: dict[str, Any], lines: Sequence[LogLine]) -> str:
        """The whole of report.html."""
        ...
