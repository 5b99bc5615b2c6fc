"""A run on the terminal while it trains: how far it is, how fast, the time left, what limits it.

A bar on a terminal; in a log file only the line after each epoch. engine/runs/time_left.py computes the time left.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from engine.report import text
from engine.runs.display import LiveBar
from engine.runs.log_schema import EpochLine
from engine.runs.time_left import Ahead, Outlook, Pace, paces_of, seconds_left, validations_of


class LiveView(LiveBar):
    """A bar over the images of all of a run's epochs. `epochs` are the log's so far; `shown`: not on other ranks."""

    def __init__(self, outlook: Outlook, epochs: Sequence[EpochLine], *, shown: bool) -> None:
        self._outlook, self._epochs, self._ends = outlook, list(epochs), outlook.ends
        # The epoch that the bar is in, and images and clock at the end of the first step seen of it.
        self._epoch, self._first_images, self._first_time = -1, 0.0, 0.0
        super().__init__(
            total=self._ends[-1],
            initial=outlook.done,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {live}",
            dynamic_ncols=True,
            # None: shown on a terminal only; a log file gets the epoch lines alone.
            disable=None if shown else True,
        )

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """What the bar begins with, after the stage where there are several."""
        super().set_description(", ".join(filter(None, (self._outlook.label, desc))), refresh=bool(refresh))

    def update(self, n: float | None = 1) -> bool | None:
        """`n` more images were trained on: a step's."""
        result = super().update(n)
        epoch = bisect_left(self._ends, self.n)
        if epoch != self._epoch:
            # The first step is not counted: it may have compiled, or waited for the first batch.
            self._epoch, self._first_images, self._first_time = epoch, self.n, time.perf_counter()
        return result

    def logged(self, epoch: EpochLine) -> str:
        """Take in an epoch's line of the log; returns the time left in words, or nothing at the end."""
        self._epochs.append(epoch)
        ahead = [*self._outlook.epochs[epoch.epoch :], *self._outlook.later]
        left = self._left(ahead, [])
        return f"{text.clock(left)} left" if ahead and left is not None else ""

    def replanned(self, outlook: Outlook) -> None:
        """The run has another length: the bar's whole and the time left are those of `outlook` from now on."""
        self._outlook, self._ends = outlook, outlook.ends
        self.total = self._ends[-1]
        self.refresh()

    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's, and what `live` stands for in the bar's format."""
        return {**super().format_dict, "live": self._words()}

    def _words(self) -> str:
        running = self._running()
        logged = self._epochs[-1].epoch if self._epochs else 0
        left = self._left(self._outlook.ahead(int(self.n), logged), running)
        rate = running[0].images / running[0].seconds if running else None
        words = [f"{text.rate(rate)} img/s", f"{text.clock(left)} left"]
        limit = self._epochs[-1].limited_by if self._epochs else None
        if self.loss is not None:
            words.insert(0, f"loss {text.number(self.loss)}")
        return ", ".join([*words, f"limit: {limit}"] if limit else words)

    def _running(self) -> list[Pace]:
        """How fast the current epoch is; empty before its second step."""
        images, seconds = int(self.n - self._first_images), time.perf_counter() - self._first_time
        if self._epoch < 0 or images <= 0 or seconds <= 0:
            return []
        side = self._outlook.epochs[min(self._epoch, len(self._ends) - 1)].side
        return [Pace(side=side, images=images, seconds=seconds)]

    def _left(self, ahead: Sequence[Ahead], running: Sequence[Pace]) -> float | None:
        return seconds_left(ahead, [*paces_of(self._epochs), *running], validations_of(self._epochs))
