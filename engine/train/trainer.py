"""The training epoch: batches in their order, a step for each, and what the log says of it.

The hot loop never waits for the device: losses stay there until the epoch's end. Everything that decides
what a step does (order, crops, learning rate, resolution) is a pure function of the recipe, seed and epoch,
which is why going on after an interruption repeats the undisturbed run.
"""

import math
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from engine.config.schema import TrainConfig
from engine.data.crops import RandomResizedCrop
from engine.data.loader import Batch, Loader
from engine.data.order import Windows, batches_of, cut_pages, epoch_permutation, page_windows
from engine.errors import UserError
from engine.train.batching import plan_batches
from engine.train.distributed import Ranks
from engine.train.entries import memory_entry
from engine.train.precision import Precision
from engine.train.schedules import lr_at, resolution_at
from engine.train.step import Step


class Trainer:
    """Trains `model` in place; `loader` is the training file's and stays its opener's to close.

    Raises UserError when the recipe's global batch can't be laid out over the ranks.
    """

    def __init__(
        self, config: TrainConfig, ranks: Ranks, precision: Precision, loader: Loader, model: nn.Module
    ) -> None:
        self.config, self.ranks, self.loader, self.model = config, ranks, loader, model
        self.plan = plan_batches(config.training, ranks.world, loader.beton.num_samples)
        self.steps_per_epoch = loader.beton.num_samples // self.plan.global_batch
        beton = loader.beton
        self._pages = (
            cut_pages(beton.images["data_ptr"], beton.sizes) if config.data.order == "pages" else None
        )
        self.step = Step(config, ranks, precision, model)

    def train_epoch(self, epoch: int, bar: "tqdm[Any]") -> dict[str, Any]:
        """One pass over the training data (`epoch` counts from 0); returns what the log says of it.

        Raises UserError for a corrupt sample and for a loss that is not finite.
        """
        epochs = self.config.training.epochs
        resolution = resolution_at(self.config.resolution, epoch, epochs)
        bar.set_description(f"epoch {epoch + 1}/{epochs}, {resolution} px", refresh=False)
        waited, skips, started = self.loader.wait_seconds, self.loader.skips, time.perf_counter()
        loss_sum = torch.zeros((), device=self.ranks.device)
        lr_peak = 0.0
        self.model.train()
        with closing(self._batches(epoch, resolution)) as batches:
            for step in range(self.steps_per_epoch):
                lr = lr_at(self.config.lr, epoch + step / self.steps_per_epoch, epochs)
                lr_peak = max(lr_peak, lr)
                loss_sum += self.step.take(batches, self.plan.accumulation, lr)
                bar.update(self.plan.global_batch)
        batches_done = self.steps_per_epoch * self.plan.accumulation * self.ranks.world
        skipped = torch.tensor(float(self.loader.skips - skips), device=self.ranks.device)
        sums = self.ranks.sum(torch.stack([loss_sum, skipped])).tolist()
        train_loss, left_out = sums[0] / batches_done, int(sums[1])
        seconds, waited = time.perf_counter() - started, self.loader.wait_seconds - waited
        if not math.isfinite(train_loss):
            advice = f"lower lr.lr (it is {self.config.lr.lr:g})"
            raise UserError(f"epoch {epoch + 1}: the training loss became {train_loss}: {advice}")
        images = self.steps_per_epoch * self.plan.global_batch - left_out
        return {
            "epoch": epoch + 1,
            "epochs": epochs,
            "train_loss": train_loss,
            "lr": lr_at(self.config.lr, epoch + 1, epochs),
            "lr_peak": lr_peak,
            "resolution": resolution,
            "images": images,
            "skipped": left_out,
            "images_per_second": images / seconds,
            "data_wait_seconds": waited,
            "compute_seconds": seconds - waited,
            "train_seconds": seconds,
            **memory_entry(self.ranks.device),
        }

    def _batches(self, epoch: int, resolution: int) -> Generator[Batch, None, None]:
        config, law = self.config, self.config.augmentation
        windows = self._windows(epoch)
        order = (
            epoch_permutation(self.loader.beton.num_samples, config.training.seed, epoch)
            if windows is None
            else windows.order
        )
        ids = batches_of(
            order,
            global_batch=self.plan.global_batch,
            accumulation=self.plan.accumulation,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        crop = RandomResizedCrop(
            seed=config.training.seed,
            epoch=epoch,
            min_scale=law.min_scale,
            max_scale=law.max_scale,
            max_aspect=law.max_aspect,
            flip=law.flip,
        )
        batches = ids.reshape(-1, self.plan.device_batch)
        return self.loader.batches(batches, resolution, crop, windows)

    def _windows(self, epoch: int) -> Windows | None:
        """The epoch in page-wise order; None where the order is random."""
        if self._pages is None:
            return None
        window_bytes = self.config.data.window_mb * 2**20
        return page_windows(
            self._pages, window_bytes=window_bytes, seed=self.config.training.seed, epoch=epoch
        )
