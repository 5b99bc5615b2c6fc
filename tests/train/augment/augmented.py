"""Small batches and what a recipe's augmentations make of them."""

from typing import Any

import numpy as np
import torch

from engine.config.train.train_config import AugmentationConfig, DataConfig, TrainConfig
from engine.data.loading.loader import MEAN, STD, Batch
from engine.train.augment.chain import Augment

CLASSES = 5


def config(seed: int = 0, **law: Any) -> TrainConfig:
    """A recipe with these options of section augmentation."""
    made = TrainConfig(
        data=DataConfig(train_dataset="a", val_dataset="b"), augmentation=AugmentationConfig(**law)
    )
    object.__setattr__(made.training, "seed", seed)
    return made


def batch(ids: list[int] | range, side: int = 24) -> Batch:
    """Whole levels, normalised; a sample's pixels and label follow from its id."""
    levels = [
        torch.from_numpy(np.random.default_rng(number).integers(0, 256, (3, side, side))) for number in ids
    ]
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    images = ((torch.stack(levels) - mean) / std).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([number % CLASSES for number in ids])
    return Batch(images, labels, np.array(ids))


def augmented(
    ids: list[int] | range, epoch: int = 0, seed: int = 0, **law: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and targets of `batch(ids)` after the augmentations."""
    done = Augment(config(seed, **law), CLASSES, torch.float32)(batch(ids), epoch)
    return done.images, done.targets
