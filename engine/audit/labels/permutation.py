"""The best assignment of rows to columns: which permutation collects the largest sum from a square table.

Where a permutation of the labels may come from: the usual accidents with the order of class names.

Labels that stand for other classes, in whole or for some: found by what the network sees under each label.

A confusion table counts how often images with label l are taken for class c. If labels were mixed up, some
permutation of them explains the table better than the labels themselves: the best one is an assignment problem, and
each of its cycles is believed only if chance can't have made it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audit.labels.binomial import log_tail
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


def order_hint(meaning: NDArray[np.int64], names: Sequence[str]) -> str:
    """A half sentence on what `meaning` (label -> class shown) looks like; empty where it looks like nothing known."""
    count = len(meaning)
    moved = np.flatnonzero(meaning != np.arange(count))
    steps = np.bincount((meaning[moved] - moved) % count, minlength=count)
    # One label closes the circle: the classes behind a missing one move up, and the last has no images.
    if len(moved) > 2 and steps.max() >= len(moved) - 1:
        step = int(steps.argmax())
        step -= count if step > count // 2 else 0
        return f". They are off by {abs(step)}, as where a class was left out or added on one side"
    for words, order in _orders(list(names[:count])):
        if np.array_equal(meaning, order):
            return f". That is what numbering the classes {words} does"
    if len(moved) > count / 2:
        return ". Another list of classes was used: ids of the devkit instead of sorted names, for example"
    return ""


def _orders(names: list[str]) -> list[tuple[str, list[int]]]:
    """Ways in which someone may have numbered the classes: label -> place in `names`."""
    keys: list[tuple[str, Callable[[str], Any]]] = [
        ("in alphabetical order", str),
        ("in alphabetical order without regard to case", str.casefold),
    ]
    if all(name.isdecimal() for name in names):
        keys.append(("by their value", int))
    places = range(len(names))
    orders = [(words, sorted(places, key=lambda place, key=key: key(names[place]))) for words, key in keys]  # type: ignore[misc]
    return [*orders, ("from the end", list(reversed(places)))]


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
