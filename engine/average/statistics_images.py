"""The training images that batch norm's statistics are computed from: the same ones for the same seed."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch

from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Loader
from engine.data.sampling.crops import CropLaw, RandomResizedCrop, centre_crop
from engine.data.sampling.order import epoch_permutation, held_out, without
from engine.errors import UserError
from engine.progress import Progress
from engine.train.augment.chain import Augment
from engine.train.schedules import resolution_at
from engine.train.step.precision import Precision

CROPS = ("train", "val")
BATCH = 128
"""Images of a batch; the statistics are a mean over batches, which this size changes little."""


class StatisticsImages:
    """`count` images of the training file, fewer where it has fewer, in batches of one size.

    `crops` is "train": random crops, flips and augmentations as in the recipe's last epoch; or "val": centre crops as
    validation makes them. The caller closes `loader`, which is one for training. Raises UserError for a file without
    images to draw.
    """

    def __init__(
        self,
        config: TrainConfig,
        precision: Precision,
        loader: Loader,
        num_classes: int,
        *,
        count: int,
        seed: int,
        crops: str,
    ) -> None:
        self.loader, self._dtype, self._seed = loader, precision.input_dtype, seed
        samples, training, validation = loader.beton.num_samples, config.training, config.validation
        order = without(
            epoch_permutation(samples, seed, 0), held_out(samples, config.data.holdout, training.seed)
        )
        count = min(count, len(order))
        if not count:
            raise UserError(f"{loader.beton.path} has no image that is trained on: batch norm needs some")
        size = min(BATCH, count)
        self.count = count // size * size
        self._batches = np.split(order[: self.count], self.count // size)
        self._epoch = training.epochs - 1
        self._augment = Augment(config, num_classes, precision.input_dtype) if crops == "train" else None
        law, crop = config.augmentation, centre_crop(
            validation.crop_law, validation.resolution, validation.ratio
        )  # fmt: skip
        self._crop: CropLaw = crop
        self.side = validation.resolution
        if crops == "train":
            self.side = resolution_at(config.resolution, self._epoch, training.epochs)
            self._crop = RandomResizedCrop(
                seed=seed,
                epoch=self._epoch,
                min_scale=law.min_scale,
                max_scale=law.max_scale,
                max_aspect=law.max_aspect,
                flip=law.flip,
            )

    def batches(self) -> Iterator[torch.Tensor]:
        """The images (n, 3, side, side), normalised, on the device, with a bar."""
        with (
            Progress("batch norm's statistics", self.count, "images") as progress,
            closing(self.loader.batches(self._batches, self.side, self._crop)) as arriving,
        ):
            for batch in arriving:
                images = self._augment(batch, self._epoch).images if self._augment else batch.images
                yield images.to(self._dtype)
                progress.update(len(batch.ids))
