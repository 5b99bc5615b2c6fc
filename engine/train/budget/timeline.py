"""How far the schedule is after so many epochs, in a run that is longer or shorter than its recipe: a pure function.

Learning rate and resolution are functions of the position in a run of training.epochs epochs. A change
(training.timeline, budget.adapt) gives the run another length from some moment on: what is left of the schedule is then
stretched or shrunk as a whole, so that it always ends where the recipe ends (Li et al. 2020, Budgeted Training).
"""

import math
from dataclasses import dataclass, replace

from engine.config.train.training import Change, timeline_changes

PARTS = 8
"""An epoch of a run with changes is cut into as many parts; the resolution may change with each."""

_EDGE = 1e-6
"""A length that is within this of a whole number of epochs is whole."""


@dataclass(frozen=True)
class Timeline:
    """The schedule of a recipe of `epochs` epochs, and the changes of its length so far, in order of time."""

    epochs: int
    changes: tuple[Change, ...] = ()

    @classmethod
    def parse(cls, text: str, epochs: int) -> "Timeline":
        """The timeline that training.timeline gives. Raises UserError for text that can't be read."""
        return cls(epochs, tuple(timeline_changes(text)))

    def __str__(self) -> str:
        return ", ".join(f"{change.at:.10g}:{change.epochs:.10g}" for change in self.changes)

    @property
    def length(self) -> float:
        """The epochs of the run in all, as planned now; the last one may be a part of an epoch."""
        return self.changes[-1].epochs if self.changes else float(self.epochs)

    @property
    def count(self) -> int:
        """The number of epochs, the last one counted whether it is whole or not."""
        return max(1, math.ceil(self.length - _EDGE))

    def share_of(self, epoch: int) -> float:
        """How much of an epoch (counted from 0) is trained on: 1, less in the last one."""
        return 1.0 if self.length > epoch + 1 - _EDGE else max(0.0, self.length - epoch)

    def position(self, epoch: float) -> float:
        """The position in the recipe's schedule after `epoch` finished epochs, in epochs of the recipe."""
        if not self.changes:
            return epoch
        start, reached, length = 0.0, 0.0, float(self.epochs)
        for change in self.changes:
            if epoch <= change.at:
                break
            reached = self._along(change.at, start, reached, length)
            start, length = change.at, change.epochs
        return self._along(epoch, start, reached, length)

    def schedule(self, epoch: float) -> float:
        """The share of the schedule (0 to 1) that is done after `epoch` finished epochs."""
        return self.position(epoch) / self.epochs

    def geometric_length(self) -> float:
        """The length by the geometric mean, over the schedule, of the epochs that each part of it gets.

        That of a part is what the run's length would be if all parts got as much. It equals `length` where the schedule
        is passed evenly; changes in the middle of a run make it smaller.
        """
        total, reached, begun = 0.0, 0.0, 0.0
        for end in [*(change.at for change in self.changes if change.at > 0), self.length]:
            share = self.schedule(end) - reached
            if share > 0 and end > begun:
                total += share * math.log((end - begun) / share)
            reached, begun = reached + share, end
        return math.exp(total)

    def changed(self, at: float, epochs: float) -> "Timeline":
        """The timeline whose length from `at` finished epochs on is `epochs` in all.

        Both are kept as text keeps them (10 digits), so that a run which reads them again repeats this one.
        """
        change = Change(float(f"{at:.10g}"), float(f"{epochs:.10g}"))
        earlier = tuple(before for before in self.changes if before.at < change.at)
        return replace(self, changes=(*earlier, change))

    def _along(self, epoch: float, start: float, reached: float, length: float) -> float:
        share = min(1.0, (epoch - start) / (length - start)) if length > start else 1.0
        return reached + (self.epochs - reached) * share
