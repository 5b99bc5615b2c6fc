"""All that a recipe does to its training batches on the device, in a fixed order.

    batch, float32 --levels 0..255--> policy, colour jitter --normalised--> erasing, ColOut, MixUp or CutMix --> step

Without any of them a batch passes as it came. Decisions are drawn for (seed, epoch, view), see draws.py.
"""

from dataclasses import dataclass

import numpy as np
import torch

from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import MEAN, STD, Batch
from engine.train.augment import colour_jitter, colout, erasing, mixing, policies
from engine.train.augment.draws import Draws, upload
from engine.train.augment.kinds import AUGMENTATIONS, Augmentation

# Importing them is what fills the table.
_FILES = (policies, colour_jitter, erasing, colout, mixing)

ORDER = ("auto-augment", "rand-augment", "trivial-augment", "colour-jitter", "erasing", "colout", "mixing")


@dataclass(frozen=True)
class TrainBatch:
    """images (n, 3, height, width), normalised, and targets: labels (n,) int64 or soft ones (n, classes) float32."""

    images: torch.Tensor
    targets: torch.Tensor


class Augment:
    """The recipe's augmentations; images arrive in `loader_dtype` and leave in `dtype`."""

    def __init__(self, config: TrainConfig, num_classes: int, dtype: torch.dtype) -> None:
        self._stages = _stages(config, num_classes)
        self._seed, self._dtype = config.training.seed, dtype

    def __call__(self, batch: Batch, epoch: int) -> TrainBatch:
        """The batch as the step takes it. Its own images may be changed."""
        if not self._stages:
            return TrainBatch(batch.images, batch.labels)
        draws = Draws(seed=self._seed, epoch=epoch, ids=batch.ids)
        images, targets, on_levels = batch.images, batch.labels, False
        for stage in self._stages:
            if stage.on_levels != on_levels:
                images, on_levels = (
                    _to_levels(images) if stage.on_levels else _normalised(images),
                    stage.on_levels,
                )
            images, targets = stage(images, targets, draws)
        if on_levels:
            images = _normalised(images)
        return TrainBatch(images.to(self._dtype), targets)


def loader_dtype(config: TrainConfig, dtype: torch.dtype) -> torch.dtype:
    """What training batches have to arrive in: float32 where they are augmented, so that rounding comes last."""
    return torch.float32 if _stages(config, 1) else dtype


def _stages(config: TrainConfig, num_classes: int) -> list[Augmentation]:
    made = [AUGMENTATIONS[name](config.augmentation, num_classes) for name in ORDER]
    return [stage for stage in made if stage is not None]


def _to_levels(images: torch.Tensor) -> torch.Tensor:
    return images * _channels(STD, images) + _channels(MEAN, images)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - _channels(MEAN, images)) / _channels(STD, images)


def _channels(values: tuple[float, ...], images: torch.Tensor) -> torch.Tensor:
    return upload(np.array(values, np.float32), images.device)[:, None, None]
