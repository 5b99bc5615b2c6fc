"""Which images of a file are worth a look: pure functions of what the network says of all of them, in NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.predict.mistakes.judged import Judged
from engine.train.evaluation.class_statistics import NO_CLASS, confused_pairs

MOST_WORST, MOST_UNSURE, MOST_PAIRS, MOST_EXAMPLES = 18, 12, 12, 3
"""Images and pairs on a page, and examples of a pair: at most 66 images, about 1 MB."""

Rows = NDArray[np.int64]
"""Rows of Judged, int64 (n,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A class and another that it is taken for; `images` so often, the other way round `reverse` times."""

    label: int
    predicted: int
    images: int
    of_class: int
    """Images of the class."""
    reverse: int
    examples: Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The images of a page."""

    worst: Rows
    """Wrong, the largest loss first."""
    pairs: tuple[Pair, ...]
    """The most frequent first."""
    unsure: Rows
    """Right, the least confident first."""

    @property
    def rows(self) -> Rows:
        """All of the images, once each."""
        return np.unique(np.concatenate([self.worst, self.unsure, *(pair.examples for pair in self.pairs)]))


def choose(judged: Judged, classes: int) -> Selection:
    """The images to show; ties in the order of the file."""
    outcomes = judged.outcomes
    right = np.flatnonzero(outcomes.right)
    return Selection(
        worst=_worst(judged, np.flatnonzero(~outcomes.right), MOST_WORST),
        pairs=_pairs(judged, classes),
        unsure=right[np.argsort(outcomes.confidence[right], kind="stable")[:MOST_UNSURE]],
    )


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class in the table."""

    label: int
    images: int
    right: int
    taken_for: int | None
    """The most frequent wrong prediction for its images; None without one."""
    times: int
    """How often."""
    wrongly: int
    """Images of other classes that were taken for this one."""


def class_rows(judged: Judged, classes: int) -> list[ClassRow]:
    """The classes that have images, the least accurate first; ties in the order of classes."""
    outcomes = judged.outcomes
    images = np.bincount(outcomes.labels, minlength=classes)
    right = np.bincount(outcomes.labels[outcomes.right], minlength=classes)
    known = outcomes.predicted[~outcomes.right & (outcomes.predicted != NO_CLASS)]
    wrongly = np.bincount(known, minlength=classes)
    first: dict[int, tuple[int, int]] = {}
    for label, predicted, count in zip(*confused_pairs(outcomes, classes), strict=True):
        first.setdefault(int(label), (int(predicted), int(count)))
    having = np.flatnonzero(images)
    order = having[np.argsort(right[having] / images[having], kind="stable")]
    return [
        ClassRow(
            label=int(label),
            images=int(images[label]),
            right=int(right[label]),
            taken_for=first.get(int(label), (None, 0))[0],
            times=first.get(int(label), (None, 0))[1],
            wrongly=int(wrongly[label]),
        )
        for label in order
    ]


def _pairs(judged: Judged, classes: int) -> tuple[Pair, ...]:
    outcomes = judged.outcomes
    images = np.bincount(outcomes.labels, minlength=classes)
    labels, predicted, counts = confused_pairs(outcomes, classes)
    found = {(int(a), int(b)): int(n) for a, b, n in zip(labels, predicted, counts, strict=True)}
    return tuple(
        Pair(
            label=label,
            predicted=other,
            images=count,
            of_class=int(images[label]),
            reverse=found.get((other, label), 0),
            examples=_worst(
                judged,
                np.flatnonzero((outcomes.labels == label) & (outcomes.predicted == other)),
                MOST_EXAMPLES,
            ),
        )
        for (label, other), count in list(found.items())[:MOST_PAIRS]
    )


def _worst(judged: Judged, rows: Rows, most: int) -> Rows:
    """Those of the rows with the largest losses; outputs that are not finite count as the worst."""
    losses = np.nan_to_num(judged.outcomes.losses[rows], nan=np.inf)
    return rows[np.argsort(-losses, kind="stable")[:most]]
