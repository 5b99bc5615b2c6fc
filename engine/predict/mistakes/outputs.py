"""Which output of a network stands for which label of a file, by the names of the classes."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.pair import agree_on_classes
from engine.data.beton.reader import Beton
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.runs.model_card import ModelCard

NONE = -1
"""Of a label that the file has no image of and the network no output for."""


def outputs_of(
    card: "ModelCard", beton: Beton, weights: Path, *, by_number: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """Label -> output, int64 (labels,), and notes on what was taken for granted.

    The file may have fewer classes, or another order. With `by_number`, or where either names no classes, output N is
    taken for label N. Raises UserError for an image of a class that the network does not know.
    """
    ours = agree_on_classes(beton)
    if by_number or card.classes is None or ours.names is None:
        if ours.count > card.num_classes:
            raise UserError(
                f"{beton.path} has labels up to {ours.count - 1}, and {weights} only {card.num_classes} outputs: give "
                "the file of its classes with --val"
            )
        whose = str(weights) if card.classes is None else str(beton.path)
        note = f"{whose} does not name its classes: output number N is taken for label N"
        return np.arange(ours.count), [] if by_number else [note]
    numbers = dict(zip(card.classes, range(card.num_classes), strict=True))
    if ours.names == card.classes or len(numbers) < card.num_classes:
        numbers = {name: number for number, name in enumerate(ours.names)}
    meaning = np.array([numbers.get(name, NONE) for name in ours.names], np.int64)
    present = np.unique(beton.labels)
    unknown = [ours.names[label] for label in present if meaning[label] == NONE]
    if unknown:
        more = f" and {len(unknown) - 1} more classes" if len(unknown) > 1 else ""
        raise UserError(
            f"{beton.path} has images of {unknown[0]!r}{more}, which {weights} does not know: give a file "
            "of its classes with --val, or go by numbers alone with --by-number"
        )
    notes = []
    if len(present) < card.num_classes:
        notes = [f"{beton.path} has images of {len(present):,} of the network's {card.num_classes:,} classes"]
    elif ours.names != card.classes:
        notes = [f"{beton.path} has the network's classes in another order: they are taken by name"]
    return meaning, notes
