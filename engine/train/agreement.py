"""What all ranks do after a step, decided by all of them for the same step, without waiting for the device.

A signal or a clock speaks to one rank at a moment of its own, but a checkpoint is of one step. So with every step the
ranks exchange a word by way of the hosts (gloo), while the step runs; the most urgent one counts.
"""

from collections.abc import Callable
from enum import IntEnum

import torch
import torch.distributed as dist

from engine.train.distributed import Ranks


class Wish(IntEnum):
    """What a rank wants after the step; the larger one counts."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    """After saving."""


class Agreement:
    """`begin` with each step, `settle` after it, on every rank alike. `wish` says what this one wants."""

    def __init__(self, ranks: Ranks, wish: Callable[[], Wish]) -> None:
        self.ranks, self._wish = ranks, wish
        self._word = torch.zeros(1, dtype=torch.int64)
        self._pending: dist.Work | None = None

    def begin(self) -> None:
        """Send this rank's word."""
        if self.ranks.world > 1:
            self._word.fill_(self._wish())
            self._pending = dist.all_reduce(
                self._word, dist.ReduceOp.MAX, group=self.ranks.control, async_op=True
            )

    def settle(self) -> Wish:
        """What all do. Raises RuntimeError when a rank is gone."""
        if self._pending is None:
            return self._wish()
        self._pending.wait()
        self._pending = None
        return Wish(int(self._word))
