"""Numbers for each sample of a file, filled in by all ranks and then whole and in the same order on each of them.

What is made of them does not depend on how many ranks there were, as sums by rank would in their last digits.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.order import samples_of
from engine.errors import UserError
from engine.train.distributed import Ranks


class BySample:
    """A row of `columns` numbers for each of `count` samples; a number is a float64, which holds whole ones exactly."""

    def __init__(self, count: int, columns: int, ranks: Ranks) -> None:
        self.ranks = ranks
        # The last column counts how often a sample was put here.
        self._rows = torch.zeros((count, columns + 1), dtype=torch.float64, device=ranks.device)

    def put(self, views: NDArray[np.int64], *columns: torch.Tensor) -> None:
        """Fill in samples of this rank's; each column has a number, or a bool, for each of the views."""
        rows = torch.stack(
            [*(column.double() for column in columns), torch.ones_like(columns[0].double())], 1
        )
        places = torch.from_numpy(samples_of(views)).to(self.ranks.device)
        self._rows.index_add_(0, places, rows)

    def gather(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The samples that any rank has filled in, ascending, and their rows: (n,) and (columns, n), on every rank.

        Raises UserError when one was filled in twice.
        """
        # Every rank but one adds zeros to a row, which leaves it as it is.
        rows = self.ranks.sum(self._rows.clone()).cpu().numpy()
        times = rows[:, -1]
        if (times > 1).any():
            raise UserError(f"validation met sample {int(times.argmax())} {times.max():.0f} times")
        known = np.flatnonzero(times)
        return known, rows[known, :-1].T.copy()
