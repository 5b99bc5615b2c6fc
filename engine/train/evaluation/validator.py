"""Validation of a model: under the recipe's conditions, plain ones, or several in one pass over the file.

Also the search for the best validation resolution (FixRes, Touvron et al. 2019). Networks trained on random crops see
larger objects than in centre crops and do best above the resolution of training. The search uses data.holdout's part of
the training file: a choice made on the validation file would bias its result.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from engine.config.train.train_config import TrainConfig, ValidationConfig
from engine.data.loading.loader import Batch, Loader
from engine.data.sampling.crops import centre_crop
from engine.data.sampling.order import validation_batches
from engine.train.evaluation.accuracy import Accuracy, Counter, predictions
from engine.train.evaluation.eval_forward import EvalForward
from engine.train.ranks.group import Ranks
from engine.train.step.compiling import compiles
from engine.train.step.precision import Precision

# Images that are measured under all conditions before the next ones are read: about 500 MB of ImageNet.
STRETCH = 4096

# What most programs that use a network give it.
PLAIN_CROP_LAW = "torchvision"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of a measurement: resolution in pixels, crop side / short side of the image, flip TTA, and how
    the crop is made (validation.crop_law)."""

    resolution: int
    ratio: float
    tta: bool
    crop_law: str


WatchAll = Callable[[int, Batch, torch.Tensor, torch.Tensor], None]
"""Called with the conditions' number, a batch and its probabilities (n, classes), as measured and without TTA."""


class Validator:
    """Measures models on a file, or on its samples `ids`; the caller closes `loader`."""

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        precision: Precision,
        loader: Loader,
        ids: NDArray[np.int64] | None = None,
    ) -> None:
        self.validation, self.ranks, self.precision, self.loader = config.validation, ranks, precision, loader
        self.ids = np.arange(loader.beton.num_samples) if ids is None else ids
        self._classes = int(loader.beton.labels.max()) + 1
        self.forward = EvalForward(
            ranks,
            precision,
            size=min(config.validation.batch_size, math.ceil(len(self.ids) / ranks.world)),
            compiled=compiles(config.training.compile, ranks.device),
            channels_last=config.training.channels_last,
        )
        self.compile_seconds = 0.0
        """Time of torch.compile so far."""

    def accuracy(self, model: nn.Module) -> Accuracy:
        """The accuracy under the recipe's conditions: its resolution, crop ratio and TTA.

        Compiled, if training.compile says so: unlike other conditions these come after every epoch, which pays for it.
        """
        self.compile_seconds += self.forward.prepare(model, self.validation.resolution)
        return self.measure(model, [own_conditions(self.validation)])[0]

    def plain_accuracy(self, model: nn.Module) -> Accuracy:
        """The accuracy under the usual conditions: plain_resolution, plain_ratio, torchvision's crop, no TTA."""
        return self.measure(model, [plain_conditions(self.validation)])[0]

    def measure(
        self, model: nn.Module, conditions: Sequence[Conditions], watch: WatchAll | None = None
    ) -> list[Accuracy]:
        """The accuracy under each of the conditions, in one reading of the file; `watch` sees each batch.

        Puts the model into eval mode.
        """
        if self.ranks.world > 1:
            # After training each rank has its own batch-norm statistics; rank 0's are the model's.
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
        model.eval()
        counters = [Counter(self.ranks, self._classes) for _ in conditions]
        for batches in self._stretches(alone=len(conditions) == 1):
            for number, (one, counter) in enumerate(zip(conditions, counters, strict=True)):
                self._count(model, batches, one, counter, watch and partial(watch, number))
        return [counter.accuracy(len(self.ids)) for counter in counters]

    def _count(
        self,
        model: nn.Module,
        batches: list[NDArray[np.int64]],
        conditions: Conditions,
        counter: Counter,
        watch: Callable[[Batch, torch.Tensor, torch.Tensor], None] | None,
    ) -> None:
        skips = self.loader.skips
        crop = centre_crop(conditions.crop_law, conditions.resolution, conditions.ratio)
        with closing(self.loader.batches(batches, conditions.resolution, crop)) as arriving:
            forward = self.forward.of(model)
            counter.take(predictions(forward, arriving, tta=conditions.tta, precision=self.precision), watch)
        counter.left_out += self.loader.skips - skips

    def _stretches(self, *, alone: bool) -> Iterator[list[NDArray[np.int64]]]:
        """This rank's batches, in stretches that stay in memory while they are measured several times."""
        size, count = self.validation.batch_size, len(self.ids)
        places = validation_batches(count, batch=size, rank=self.ranks.rank, world=self.ranks.world)
        batches = [self.ids[batch] for batch in places]
        length = max(1, len(batches) if alone else STRETCH // size)
        for start in range(0, len(batches), length):
            yield batches[start : start + length]


def own_conditions(validation: ValidationConfig, resolution: int | None = None) -> Conditions:
    """The recipe's conditions, or the same at another resolution."""
    side = validation.resolution if resolution is None else resolution
    return Conditions(
        resolution=side, ratio=validation.ratio, tta=validation.lr_tta, crop_law=validation.crop_law
    )


def plain_conditions(validation: ValidationConfig) -> Conditions:
    """The conditions of the plain result."""
    return Conditions(
        resolution=validation.plain_resolution,
        ratio=validation.plain_ratio,
        tta=False,
        crop_law=PLAIN_CROP_LAW,
    )


def search_resolution(validator: Validator, model: nn.Module, sides: list[int]) -> list[dict[str, Any]]:
    """The accuracy under the recipe's conditions at each resolution (pixels), the best first; ties: smallest first."""
    conditions = [own_conditions(validator.validation, side) for side in sorted(set(sides))]
    found = [
        {
            "resolution": one.resolution,
            "top1": accuracy.top1,
            "loss": accuracy.loss,
            "images": accuracy.count,
        }
        for one, accuracy in zip(conditions, validator.measure(model, conditions), strict=True)
    ]
    return sorted(found, key=lambda entry: (-entry["top1"], entry["resolution"]))


def search_table(found: list[dict[str, Any]]) -> str:
    """The results by resolution, and the choice, as lines of text."""
    rows = [
        f"{entry['resolution']:>5} px  top-1 {entry['top1']:7.2%}  loss {entry['loss']:.4f}"
        for entry in sorted(found, key=lambda entry: entry["resolution"])
    ]
    images = found[0]["images"]
    return "\n".join(
        [f"on {images:,} images held out of training:", *rows, f"validated at {found[0]['resolution']} px"]
    )
