"""Image operations that differ between the samples of a batch, applied group by group.

A policy gives a list of layers; a layer has one operation and one value for each sample. All shears, shifts and
rotations of a layer are one group; each colour operation is another. The host decides, so nothing waits for the device.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.augment.augmentation import Draws, upload
from engine.train.augment.colours import COLOURS
from engine.train.augment.geometry import GEOMETRIC, inverse_matrices, warp

IDENTITY = 0
NAMES = ("identity", *GEOMETRIC, *COLOURS)
"""Operations; a layer holds positions in this tuple."""
_CODES = {name: code for code, name in enumerate(NAMES)}
_FIRST_COLOUR = 1 + len(GEOMETRIC)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """An operation (a position in NAMES) and its value for each of n samples, both of shape (n,).

    Values are shears, pixels, degrees, factors (1: no change), shares of the hue's circle, bits or levels.
    """

    operations: NDArray[np.int64]
    values: NDArray[np.float64]


Plan = Callable[[Draws, int, int], list[Layer]]
"""(draws, height, width) -> layers, in the order of application."""

Space = dict[str, Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]]
"""The operations of a policy: (strengths in -1..1, height, width) -> values; unsigned ones use the absolute value."""


class Operations:
    """The augmentation that applies a plan; `fill` (red, green, blue) in levels is the colour outside of the image."""

    on_levels = True

    def __init__(self, plan: Plan, fill: tuple[float, float, float] = (0, 0, 0)) -> None:
        self._plan, self._fill = plan, np.array(fill, np.float32)[:, None, None]

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fill = upload(self._fill, images.device)
        for layer in self._plan(draws, *images.shape[2:]):
            apply_layer(images, layer, fill)
        return images, targets


def in_space(
    space: Space, names: NDArray[np.str_], strengths: NDArray[np.float64], height: int, width: int
) -> Layer:
    """The layer of operations `names` (n,) at `strengths` (n,), in -1..1."""
    operations, values = np.zeros(len(names), np.int64), np.zeros(len(names))
    for name, value in space.items():
        rows = names == name
        operations[rows] = _CODES[name]
        values[rows] = value(strengths[rows], height, width)
    return Layer(operations=operations, values=values)


def without(layer: Layer, rows: NDArray[np.bool_]) -> Layer:
    """The layer without any operation on these rows, bool (n,)."""
    return Layer(operations=np.where(rows, IDENTITY, layer.operations), values=layer.values)


def apply_layer(images: torch.Tensor, layer: Layer, fill: torch.Tensor) -> None:
    """Change images, float32 levels (n, 3, height, width), in place; `fill` (3, 1, 1) is the colour outside."""
    # Sorted by operation, so that each group is contiguous and all rows go to the device at once.
    order = np.argsort(layer.operations, kind="stable")
    operations, values = layer.operations[order], layer.values[order]
    rows = upload(order, images.device)
    factors = upload(values.astype(np.float32), images.device)[:, None, None, None]
    starts = np.searchsorted(operations, np.arange(len(NAMES) + 1))
    begin, end = starts[1], starts[_FIRST_COLOUR]
    if begin < end:
        height, width = images.shape[2:]
        inverse = np.concatenate(
            [
                inverse_matrices(name, values[starts[code] : starts[code + 1]], height, width)
                for code, name in enumerate(GEOMETRIC, start=1)
            ]
        )
        _replace(images, rows[begin:end], lambda chosen: warp(chosen, inverse, fill))
    for code, name in enumerate(COLOURS, start=_FIRST_COLOUR):
        begin, end = starts[code], starts[code + 1]
        if begin < end:
            colour, value = COLOURS[name], factors[begin:end]
            _replace(images, rows[begin:end], lambda chosen: colour(chosen, value))  # noqa: B023


def _replace(
    images: torch.Tensor, rows: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    images.index_copy_(0, rows, change(images.index_select(0, rows)))
