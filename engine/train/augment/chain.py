"""All augmentations of a recipe, applied to its training batches on the device in a fixed order.

    batch, float32 --levels 0..255--> policy, colour jitter --normalised--> erasing, ColOut, MixUp or CutMix --> step

Where a recipe has none of them, batches pass unchanged. The random numbers are in augmentation.py.
"""

from dataclasses import dataclass

import numpy as np
import torch

from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import MEAN, STD, Batch
from engine.train.augment import colour_jitter, colout, erasing, mixing, policies
from engine.train.augment.augmentation import Augmentation, Draws, Kind, upload

AUGMENTATIONS: dict[str, Kind] = {
    "auto-augment": Kind(build=policies.auto_augment, example={"policy": "auto-augment"}),
    "rand-augment": Kind(build=policies.rand_augment, example={"policy": "rand-augment"}),
    "trivial-augment": Kind(build=policies.trivial_augment, example={"policy": "trivial-augment"}),
    "colour-jitter": Kind(
        build=colour_jitter.colour_jitter,
        example={"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    ),
    "erasing": Kind(build=erasing.erasing, example={"erasing_probability": 0.5, "erasing_fill": "noise"}),
    "colout": Kind(build=colout.colout, example={"colout_rows": 0.25, "colout_columns": 0.1}),
    "mixing": Kind(build=mixing.mixing, example={"mixup_alpha": 0.2, "cutmix_alpha": 1.0}),
}
"""The registration of every augmentation, in the order in which they are applied."""


@dataclass(frozen=True)
class TrainBatch:
    """A batch for the training step.

    `images` (n, 3, height, width), normalised, in the dtype of the forward pass; `targets` labels (n,) int64 or soft
    targets (n, classes) float32.
    """

    images: torch.Tensor
    targets: torch.Tensor


class Augment:
    """The recipe's augmentations: takes images in `loader_dtype`, gives them in `dtype`."""

    def __init__(self, config: TrainConfig, num_classes: int, dtype: torch.dtype) -> None:
        self._stages = _stages(config, num_classes)
        self._seed, self._dtype = config.training.seed, dtype

    def __call__(self, batch: Batch, epoch: int) -> TrainBatch:
        """The augmented batch. May change the images of `batch` in place."""
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
    """The dtype in which the loader gives training images: float32 where they are augmented, so rounding comes last."""
    return torch.float32 if _stages(config, 1) else dtype


def _stages(config: TrainConfig, num_classes: int) -> list[Augmentation]:
    made = [kind.build(config.augmentation, num_classes) for kind in AUGMENTATIONS.values()]
    return [stage for stage in made if stage is not None]


def _to_levels(images: torch.Tensor) -> torch.Tensor:
    return images * _channels(STD, images) + _channels(MEAN, images)


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - _channels(MEAN, images)) / _channels(STD, images)


def _channels(values: tuple[float, ...], images: torch.Tensor) -> torch.Tensor:
    return upload(np.array(values, np.float32), images.device)[:, None, None]
