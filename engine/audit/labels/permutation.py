"""Permuted labels: labels that mean other classes, found from a network's predictions.

A confusion table counts how often images with label l are predicted as class c. If labels were permuted, some
permutation explains the table better than the labels themselves. The best one is an assignment problem, and a cycle of
it is reported only if chance can't explain it. `order_hint` names usual causes, such as another order of class names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audit.labels.binomial import log_tail
from engine.data.kernel import kernel


def best_assignment(gains: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column of each row, int64 (n,), each column once, that maximises the sum of `gains` (n, n).

    Ties are resolved in favour of the diagonal.
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
    """Shortest augmenting paths with potentials (Jonker and Volgenant 1987), adding row after row.

    Column `count` represents the row that is being added. Cubic time in the worst case.
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
    """A sentence on the likely cause of the permutation `meaning` (label -> class shown); empty if unknown."""
    count = len(meaning)
    moved = np.flatnonzero(meaning != np.arange(count))
    steps = np.bincount((meaning[moved] - moved) % count, minlength=count)
    # One label closes the cycle: the classes after a missing one move up, and the last has no images. A few classes in
    # between that are exchanged in turn are no such case.
    to_the_end = len(moved) > 3 and moved[-1] == count - 1 and moved[-1] - moved[0] == len(moved) - 1
    if to_the_end and steps.max() >= len(moved) - 1:
        step = int(steps.argmax())
        step -= count if step > count // 2 else 0
        return f". They are off by {abs(step)}, as if a class was left out or added on one side"
    for words, order in _orders(list(names[:count])):
        if np.array_equal(meaning, order):
            return f". Numbering the classes {words} gives this"
    if len(moved) > count / 2:
        return ". Another list of classes was used: ids of the devkit instead of sorted names, for example"
    return ""


def _orders(names: list[str]) -> list[tuple[str, list[int]]]:
    """Usual numberings of classes: (description, label -> place in `names`)."""
    keys: list[tuple[str, Callable[[str], Any]]] = [
        ("in alphabetical order", str),
        ("in alphabetical order without regard to case", str.casefold),
    ]
    if all(name.isdecimal() for name in names):
        keys.append(("by their value", int))
    places = range(len(names))
    orders = [(words, sorted(places, key=lambda place, key=key: key(names[place]))) for words, key in keys]  # type: ignore[misc]
    return [*orders, ("from the end", list(reversed(places)))]


# The probability of a false report, over all possible cycles.
_LOG_ERROR = float(np.log(1e-4))


@dataclass(frozen=True, eq=False)
class Permutation:
    """The class that each label means, as far as the network can tell."""

    meaning: NDArray[np.int64]
    """(classes,): the class that images with this label show; by default the label itself."""
    cycles: tuple[tuple[int, ...], ...]
    """Permuted labels: images with each label of a cycle show the class of the next one."""
    before: float
    """The network's accuracy with the labels as they are."""
    after: float
    """The network's accuracy with the permutation undone."""


def find_permutation(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Permutation:
    """The permutation of `labels` (n,), given a network's predictions (n,), both below `classes`.

    A cycle of k labels is reported if its images are predicted as the permuted class more often than as their own, with
    a probability below 1e-4 / classes^k for a fair coin. With right labels the own class is favoured, even for classes
    that the network can hardly distinguish.
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


def unsure_labels(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Labels whose images would not show it if they were exchanged with another's: too few, or seen as several classes.

    It is what `find_permutation` asks of a label in a cycle of two. Permuted or not, the same labels are unsure.
    """
    rows, _, counts = _counts(labels, predicted, classes)
    order = np.lexsort((-counts, rows))
    rows, counts = rows[order], counts[order]
    present, first = np.unique(rows, return_index=True)
    second = np.append(counts, 0)[first + 1] * (np.append(rows, -1)[first + 1] == present)
    both = counts[first] + second
    evidence = -log_tail(counts[first] / both, both, 0.5)
    unsure: NDArray[np.int64] = present[evidence < np.log(classes) - _LOG_ERROR / 2]
    return unsure


def _counts(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The non-zero cells of the confusion table: label, class, count. The full one of 21,000 classes has 4e8 cells."""
    cells, counts = np.unique(labels * classes + predicted, return_counts=True)
    return cells // classes, cells % classes, counts


def _doubted(
    rows: NDArray[np.int64], columns: NDArray[np.int64], counts: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Labels mostly predicted as another class, and those classes, ascending: only these can be in a cycle."""
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
    """The square confusion table of the chosen labels."""
    place = np.full(classes, -1)
    place[chosen] = np.arange(len(chosen))
    inside = (place[rows] >= 0) & (place[columns] >= 0)
    table = np.zeros((len(chosen), len(chosen)), np.int64)
    table[place[rows[inside]], place[columns[inside]]] = counts[inside]
    return table


def _cycles(assigned: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The cycles of a permutation with two or more members, each starting with its smallest."""
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
