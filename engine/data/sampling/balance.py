"""Classes of very different sizes: how often each is trained on (data.balance), and an epoch's order that does so.

An epoch keeps its number of places. `class_places` says how many of them each class has. A class fills them from an
endless sequence of its own, pass after pass over its samples, each pass in another order; epoch e takes the part that
follows epoch e - 1's. So after any number of epochs two samples of a class have been used equally often, to one, and
the order is a pure function of (seed, epoch) as the plain one is: the same for any number of ranks, without state.
"""

import math

import numpy as np
from numpy.typing import NDArray

from engine.data.sampling.order import MOST_VIEWS, epoch_permutation, view_of
from engine.data.sampling.rng import sample_keys

_STREAM = 0x62616C616E6365


def class_places(counts: NDArray[np.int64], law: str) -> NDArray[np.int64]:
    """Places of an epoch for classes that have `counts` samples, both int64 (classes,) and of the same sum.

    In proportion to the counts (none), to their square roots (sqrt), or as many for each class (equal). Rounded down;
    the places that are left go to those that lost most. A class that has samples has at least one place.
    """
    if law == "none":
        return counts
    share = np.sqrt(counts) if law == "sqrt" else (counts > 0).astype(np.float64)
    # fsum is exact, and last digits must not decide: they differ between machines.
    wanted = np.round(share * int(counts.sum()) / math.fsum(share.tolist()), 6)
    places = np.floor(wanted).astype(np.int64)
    left = int(counts.sum() - places.sum())
    places[np.argsort(places - wanted, kind="stable")[:left]] += 1
    return places


def balanced_order(
    samples: NDArray[np.int64], labels: NDArray[np.int64], law: str, *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The views of an epoch, int64 (len(samples),): every class in its `class_places`, all shuffled.

    `labels` (len(samples),) are the samples'. A sample that is used several times in an epoch has another view each
    time, up to MOST_VIEWS of them.
    """
    counts = np.bincount(labels)
    places = class_places(counts, law)
    begin, divisor = epoch * places, np.maximum(counts, 1)
    first = begin // divisor
    passes = np.where(counts > 0, (begin + places - 1) // divisor - first + 1, 0)
    # A row for each sample in each pass that reaches into this epoch.
    times = passes[labels]
    row = np.repeat(np.arange(len(samples)), times)
    number = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times) + first[labels[row]]
    # No sample has as large a number: each pass has keys of its own.
    keys = sample_keys(samples[row] + number * (int(samples.max()) + 1), seed, 0, _STREAM)
    by_class = np.lexsort((keys, number, labels[row]))
    row, number = row[by_class], number[by_class]
    of = labels[row]
    # Where each row stands in its class's endless sequence.
    block = counts * passes
    at = np.arange(len(row)) - (np.cumsum(block) - block)[of] + (first * counts)[of]
    kept = (at >= begin[of]) & (at < (begin + places)[of])
    views = view_of(samples[row[kept]], number[kept] % MOST_VIEWS)
    return views[epoch_permutation(len(views), seed, epoch)]
