"""Validation of a model on the validation file, at the recipe's resolution or at the plain one."""

from contextlib import closing

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from engine.config.schema import ValidationConfig
from engine.data.crops import CenterCrop
from engine.data.loader import Loader
from engine.data.order import validation_batches
from engine.train.distributed import Ranks
from engine.train.evaluate import Accuracy, evaluate
from engine.train.precision import Precision


class Validator:
    """Measures models on a file, or on the samples `ids` of it; `loader` stays its opener's to close."""

    def __init__(
        self,
        validation: ValidationConfig,
        ranks: Ranks,
        precision: Precision,
        loader: Loader,
        ids: NDArray[np.int64] | None = None,
    ) -> None:
        self.validation, self.ranks, self.precision, self.loader = validation, ranks, precision, loader
        self.ids = np.arange(loader.beton.num_samples) if ids is None else ids

    def accuracy(self, model: nn.Module) -> Accuracy:
        """As the recipe measures: at its resolution and crop ratio, with TTA if it says so."""
        return self.at(model, self.validation.resolution)

    def at(self, model: nn.Module, resolution: int) -> Accuracy:
        """The same at another resolution, in pixels."""
        return self._at(model, resolution, self.validation.ratio, self.validation.lr_tta)

    def plain_accuracy(self, model: nn.Module) -> Accuracy:
        """As the field usually measures: plain_resolution, plain_ratio, no TTA."""
        return self._at(model, self.validation.plain_resolution, self.validation.plain_ratio, tta=False)

    def _at(self, model: nn.Module, resolution: int, ratio: float, tta: bool) -> Accuracy:
        if self.ranks.world > 1:
            # Training leaves each rank with batch-norm statistics of its own; rank 0's are the model's.
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
        count = len(self.ids)
        places = validation_batches(
            count, batch=self.validation.batch_size, rank=self.ranks.rank, world=self.ranks.world
        )
        ids = [self.ids[batch] for batch in places]
        skips = self.loader.skips
        with closing(self.loader.batches(ids, resolution, CenterCrop(ratio=ratio))) as batches:
            return evaluate(
                model,
                batches,
                tta=tta,
                precision=self.precision,
                ranks=self.ranks,
                expected=count,
                left_out=lambda: self.loader.skips - skips,
            )
