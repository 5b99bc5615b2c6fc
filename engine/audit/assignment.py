"""The best assignment of rows to columns: which permutation collects the largest sum from a square table."""

import numpy as np
from numpy.typing import NDArray

from engine.data.kernel import kernel


def best_assignment(gains: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,): the column of each row, each column once, with the largest sum of gains (n, n).

    Where several are best the one with most rows on the diagonal is taken.
    """
    gains = np.asarray(gains, np.int64)
    count = len(gains)
    # The factor keeps a bonus for the diagonal below any difference of gains.
    costs = -(gains * (count + 1) + np.eye(count, dtype=np.int64))
    assigned = np.empty(count, np.int64)
    _assign(np.ascontiguousarray(costs), assigned)
    return assigned


@kernel
def _assign(costs: NDArray[np.int64], assigned: NDArray[np.int64]) -> None:
    """Shortest augmenting paths with potentials (Jonker and Volgenant 1987): rows join one after the other.

    Column `count` stands for the row that is being added. Time is cubic in the worst case.
    """
    count = len(costs)
    none = -1
    row_of = np.full(count + 1, none)
    row_potential = np.zeros(count, np.int64)
    column_potential = np.zeros(count + 1, np.int64)
    distance = np.empty(count, np.int64)
    before = np.empty(count, np.int64)
    far = np.iinfo(np.int64).max
    for new in range(count):
        row_of[count] = new
        column = count
        distance[:] = far
        done = np.zeros(count + 1, np.bool_)
        while row_of[column] != none:
            done[column] = True
            row, step, following = row_of[column], far, none
            for other in range(count):
                if done[other]:
                    continue
                reduced = costs[row, other] - row_potential[row] - column_potential[other]
                if reduced < distance[other]:
                    distance[other] = reduced
                    before[other] = column
                if distance[other] < step:
                    step, following = distance[other], other
            for other in range(count + 1):
                if done[other]:
                    row_potential[row_of[other]] += step
                    column_potential[other] -= step
                elif other < count:
                    distance[other] -= step
            column = following
        while column != count:
            row_of[column] = row_of[before[column]]
            column = before[column]
    for column in range(count):
        assigned[row_of[column]] = column
