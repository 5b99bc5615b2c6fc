"""Labels that stand for other classes, in whole or for some: found by what the network sees under each label.

A confusion table counts how often images with label l are taken for class c. If labels were mixed up, some
permutation of them explains the table better than the labels themselves: the best one is an assignment problem, and
each of its cycles is believed only if chance can't have made it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.assignment import best_assignment
from engine.audit.tail import log_tail

# The probability, over all cycles that there could be, of taking chance for a permutation.
_LOG_ERROR = float(np.log(1e-4))


@dataclass(frozen=True, eq=False)
class Permutation:
    """What each label stands for, as far as the network can tell."""

    meaning: NDArray[np.int64]
    """(classes,): the class that images with this label show; the label itself where nothing speaks against it."""
    cycles: tuple[tuple[int, ...], ...]
    """Labels that were mixed up among each other: images with each label show the class of the next one."""
    before: float
    """The network's accuracy with the labels as they are ..."""
    after: float
    """... and with the permutation undone."""


def find_permutation(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Permutation:
    """The permutation of these labels (n,), given the classes that a network sees (n,), both below `classes`.

    A cycle of k labels counts where its images are taken for the permuted class more often than for their own, so
    much so that a fair coin does it with a probability below 1e-4 / classes^k. With right labels the coin favours
    the own class, also of classes that a network can hardly tell apart.
    """
    meaning = np.arange(classes)
    table = _counts(labels, predicted, classes)
    doubted = _doubted(*table, classes)
    cycles = []
    if len(doubted):
        gains = _among(*table, doubted, classes)
        for cycle in _cycles(best_assignment(gains)):
            following = np.roll(cycle, -1)
            own, other = int(gains[cycle, cycle].sum()), int(gains[cycle, following].sum())
            if other <= own:
                continue
            chance = float(log_tail(other / (own + other), own + other, 0.5))
            if chance + len(cycle) * np.log(classes) < _LOG_ERROR:
                meaning[doubted[cycle]] = doubted[following]
                cycles.append(tuple(int(label) for label in doubted[cycle]))
    before = float((predicted == labels).mean())
    return Permutation(meaning, tuple(cycles), before, float((predicted == meaning[labels]).mean()))


def _counts(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The confusion table's cells that are not 0: label, class and count. A whole one of 21,000 has 4e8."""
    cells, counts = np.unique(labels * classes + predicted, return_counts=True)
    return cells // classes, cells % classes, counts


def _doubted(
    rows: NDArray[np.int64], columns: NDArray[np.int64], counts: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Labels mostly taken for another class, and those classes, ascending: nothing else can be in a cycle."""
    own = np.zeros(classes, np.int64)
    own[rows[rows == columns]] = counts[rows == columns]
    largest = np.zeros(classes, np.int64)
    np.maximum.at(largest, rows, counts)
    elsewhere = (counts == largest[rows]) & (counts > own[rows])
    return np.union1d(rows[elsewhere], columns[elsewhere])


def _among(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    counts: NDArray[np.int64],
    chosen: NDArray[np.int64],
    classes: int,
) -> NDArray[np.int64]:
    """The confusion table of the chosen labels alone, square."""
    place = np.full(classes, -1)
    place[chosen] = np.arange(len(chosen))
    inside = (place[rows] >= 0) & (place[columns] >= 0)
    table = np.zeros((len(chosen), len(chosen)), np.int64)
    table[place[rows[inside]], place[columns[inside]]] = counts[inside]
    return table


def _cycles(assigned: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The cycles of two and more of a permutation, each from its smallest member."""
    cycles, seen = [], np.zeros(len(assigned), bool)
    for start in range(len(assigned)):
        cycle, place = [], start
        while not seen[place]:
            seen[place] = True
            cycle.append(place)
            place = int(assigned[place])
        if len(cycle) > 1:
            cycles.append(np.array(cycle))
    return cycles
