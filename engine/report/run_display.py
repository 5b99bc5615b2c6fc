"""How a run is shown while it is trained: the bar, a line for each epoch, the closing summary and the page.

The run writer (engine/runs/run_writer.py) stands below the report; train_imagenet.py passes it this display.
"""

from collections.abc import Sequence
from typing import Any

from engine.report import contract_words
from engine.report.run import run_page
from engine.report.terminal import summary
from engine.report.terminal.live import LiveView
from engine.runs.log_schema import AlarmLine, EpochLine, LogLine, ReplanLine
from engine.runs.time_left import Outlook


class RunDisplay:
    """The engine.runs.display.Display of the report."""

    def live(self, outlook: Outlook, epochs: Sequence[EpochLine], *, shown: bool) -> LiveView:
        """A bar for a run of which `epochs` are logged already; one that is not `shown` only computes."""
        return LiveView(outlook, epochs, shown=shown)

    def epoch_words(self, epoch: EpochLine) -> str:
        """One epoch in one line."""
        return summary.epoch_line(epoch)

    def replan_words(self, replan: ReplanLine) -> str:
        """A change of the run's length in one line."""
        return contract_words.replan_line(replan)

    def alarm_words(self, alarm: AlarmLine) -> str:
        """An alarm and its likely causes, as a warning."""
        return contract_words.alarm_line(alarm)

    def summary(self, config: dict[str, Any], lines: Sequence[LogLine]) -> str:
        """What came out of a run, in a few lines."""
        return summary.closing_summary(config, lines)

    def page(self, config: dict[str, Any], lines: Sequence[LogLine]) -> str:
        """The whole of report.html."""
        return run_page.render(config, lines)
