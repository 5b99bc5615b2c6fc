"""Where a permutation of the labels may come from: the usual accidents with the order of class names."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
