"""ColOut (Composer): drops random rows and columns of each image, which makes it smaller."""

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config.train.augmentation import AugmentationConfig
from engine.train.augment.augmentation import Augmentation, Draws, upload


def kept(draws: Draws, axis: str, size: int, share: float) -> NDArray[np.int64]:
    """The kept ones of each image's `size` rows or columns, in order: int64 (n, int((1 - share) * size))."""
    chosen = draws.uniform(f"colout-{axis}", size).argsort(1)[:, : int((1 - share) * size)]
    chosen.sort(1)
    return chosen


class ColOut:
    """Drops these shares of the rows and of the columns."""

    on_levels = False

    def __init__(self, rows: float, columns: float) -> None:
        self._rows, self._columns = rows, columns

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        rows = upload(kept(draws, "rows", height, self._rows), images.device)
        columns = upload(kept(draws, "columns", width, self._columns), images.device)
        samples = torch.arange(len(images), device=images.device)
        # Indexed as (n, height, width, 3), the memory order of channels_last images.
        pixels = images.permute(0, 2, 3, 1)
        left = pixels[samples[:, None, None], rows[:, :, None], columns[:, None, :]]
        return left.permute(0, 3, 1, 2), targets


def colout(law: AugmentationConfig, num_classes: int) -> Augmentation | None:
    """On if rows or columns are dropped."""
    if not law.colout_rows and not law.colout_columns:
        return None
    return ColOut(law.colout_rows, law.colout_columns)
