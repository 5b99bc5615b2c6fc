"""The training epoch: batches in order, a step for each, and the epoch's line of the log.

The loop rarely waits for the device: losses stay there until nonfinite.py reads them. Everything that decides what a
step does (order, crops, learning rate, resolution) is a pure function of recipe, seed and epoch, so a resumed run
repeats the uninterrupted one.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from engine import system
from engine.config.train.train_config import TrainConfig
from engine.data.loading.loader import Batch, Loader
from engine.data.loading.replay import replayed
from engine.data.sampling.balance import balanced_order
from engine.data.sampling.crops import RandomResizedCrop
from engine.data.sampling.order import (
    Windows,
    batches_of,
    cut_pages,
    epoch_permutation,
    held_out,
    in_parts,
    page_windows,
    without,
)
from engine.devices import free_memory, peak_memory
from engine.models.head import train_mode
from engine.runs.log_schema import EpochLine, StepsLine
from engine.train.augment.chain import Augment, TrainBatch
from engine.train.batching import BatchPlan, plans_by_resolution
from engine.train.bottleneck import EpochMeter
from engine.train.budget.timeline import PARTS, Timeline
from engine.train.checkpoints.checkpoint_file import EpochState, Pauses
from engine.train.imbalance import class_weights
from engine.train.ranks.backends import seed_step
from engine.train.ranks.group import Ranks
from engine.train.residence import numbers_of_parts
from engine.train.schedules import lr_at, resolution_at
from engine.train.step.exchange import refuse_static_graph
from engine.train.step.memory_fit import fit_plans, fits_in_memory
from engine.train.step.nonfinite import EpochLosses
from engine.train.step.precision import Precision
from engine.train.step.scale import refuse_single_images
from engine.train.step.step import Step

Tell = Callable[[StepsLine], None]
"""Takes a line for the log."""

Pace = Callable[[int, int], None]
"""Called after each step with the epoch (from 0) and its finished steps; may change the trainer's timeline."""


@dataclass(frozen=True)
class _Clocks:
    """An epoch's clocks: the state after so many steps, and what limits it."""

    state: Callable[[int], EpochState]
    meter: EpochMeter


class Trainer:
    """Trains `model` in place with the training file's `loader`, whose dtype is chain.loader_dtype.

    The caller closes the loader. `order_parts` says from how many parts of the images the order draws (residence.py).
    Raises UserError when the global batch does not divide evenly over the ranks, or leaves a device single images that
    the network can't be trained on.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        precision: Precision,
        loader: Loader,
        model: nn.Module,
        num_classes: int,
        order_parts: int = 1,
    ) -> None:
        self.config, self.ranks, self.loader, self.model = config, ranks, loader, model
        self.timeline = Timeline.parse(config.training.timeline, config.training.epochs)
        """The length of the run as planned now; a re-plan replaces it between two steps, on all ranks alike."""
        self.done = EpochState()
        """The state at the end of the last trained epoch."""
        beton = loader.beton
        self._held = held_out(beton.num_samples, config.data.holdout, config.training.seed)
        self.num_samples = beton.num_samples - len(self._held)
        self._trained = np.delete(np.arange(beton.num_samples), self._held)
        self.class_images = np.bincount(beton.labels[self._trained], minlength=num_classes)
        """Training images of each class."""
        self.plans = plans_by_resolution(config, ranks.world, self.num_samples)
        for side, plan in self.plans.items():
            if plan.device_batch == 1 and not (config.training.sync_bn and ranks.world > 1):
                refuse_single_images(model, side)
        self.order_parts = order_parts
        self._parts = numbers_of_parts(config, beton.num_samples, order_parts)
        refuse_static_graph(config.training, ranks, self.plans.values())
        self._pages = (
            cut_pages(beton.images["data_ptr"], beton.sizes) if config.data.order == "pages" else None
        )
        self.compile_seconds: dict[int, float] = {}
        """Time of torch.compile by resolution, of those that were prepared."""
        self.augment = Augment(config, num_classes, precision.input_dtype)
        weights = class_weights(config, self.class_images)
        self.step = Step(config, ranks, precision, model, num_classes, self.class_names, weights)
        if config.training.fit_memory and free_memory(ranks.device):
            self.plans = fit_plans(self.plans, partial(fits_in_memory, self.step, ranks))

    @property
    def class_names(self) -> list[str] | None:
        """Label -> name, where the training file says so."""
        manifest = self.loader.beton.manifest
        return list(manifest.classes) if manifest else None

    def train_epoch(
        self,
        epoch: int,
        bar: "tqdm[Any]",
        begun: EpochState | None = None,
        pauses: Pauses | None = None,
        tell: Tell | None = None,
        paced: Pace | None = None,
    ) -> EpochLine:
        """One pass over the training data (`epoch` counts from 0), or the rest of it after `begun`.

        Returns its line for the log, without a validation. `pauses` is asked around each step; `tell` gets a line for
        the log whenever losses are looked at; `paced` may change the timeline after a step.

        Raises UserError for a corrupt sample and for a loss that is not finite or too high.
        """
        begun = begun or EpochState(epoch=epoch)
        train_mode(self.model)
        first = sum(self.steps(before) for before in range(epoch))
        losses = EpochLosses(
            self.config,
            self.ranks,
            epoch=epoch,
            steps=self.full_steps(epoch),
            accumulation=self.plan(epoch).accumulation,
            told=(lambda step, loss: tell(self._steps_line(epoch, step, loss))) if tell else None,
        )
        if begun.losses:
            losses.load_state_dict(begun.losses)
        step, compile_seconds, clocks = begun.step, 0.0, None
        while step < self.steps(epoch):
            # One part of the epoch after the other, each at one resolution: without changes there is only one.
            side, plan = self.side(epoch, step), self.plan(epoch, step)
            bar.set_description(f"epoch {epoch + 1}/{self.timeline.count}, {side} px", refresh=False)
            compiling = self.step.prepare(plan.device_batch, side)
            compile_seconds += compiling
            self.compile_seconds[side] = self.compile_seconds.get(side, 0.0) + compiling
            # So many steps have batches: an epoch that is lengthened later goes on in another part.
            end = self.steps(epoch)
            with closing(self.batches(epoch, step)) as batches:
                whole = self._never_short(batches)
                # Replayed batches are loaded before the clocks start.
                clocks = clocks or self._clocks(begun, losses)
                while step < min(end, self.steps(epoch)) and self.side(epoch, step) == side:
                    if pauses:
                        pauses.begin_step()
                    seed_step(self.config.training.seed, epoch, step, self.ranks.rank)
                    lr = self._lr(epoch, step / self.full_steps(epoch))
                    number = first + step
                    losses.note(*self.step.take(whole, plan.accumulation, lr=lr, number=number))
                    bar.update(plan.global_batch)
                    step += 1
                    if pauses:
                        pauses.end_step(partial(clocks.state, step))
                    if paced:
                        paced(epoch, step)
        clocks = clocks or self._clocks(begun, losses)
        train_loss, self.done = losses.mean(), clocks.state(step)
        return self._epoch_line(self.done, train_loss, losses.skipped, compile_seconds, clocks.meter)

    def _clocks(self, begun: EpochState, losses: EpochLosses) -> _Clocks:
        return _Clocks(self._sitting(begun, losses), EpochMeter(self.config, self.ranks, self.loader))

    def _sitting(self, begun: EpochState, losses: EpochLosses) -> Callable[[int], EpochState]:
        """A function (steps done) -> state of the epoch, with times from now on; all ranks have to call it together."""
        waited, skips, started = self.loader.wait_seconds, self.loader.skips, time.perf_counter()

        def state(step: int) -> EpochState:
            left_out = torch.tensor(self.loader.skips - skips, device=self.ranks.device)
            return EpochState(
                epoch=begun.epoch,
                step=step,
                seconds=begun.seconds + time.perf_counter() - started,
                waited=begun.waited + self.loader.wait_seconds - waited,
                skips=begun.skips + int(self.ranks.sum(left_out)),
                losses=losses.state_dict(),
            )

        return state

    def _steps_line(self, epoch: int, step: int, loss: float) -> StepsLine:
        """The log's line on the steps up to `step` since the line before; `loss` is their mean."""
        steps = self.steps(epoch)
        return StepsLine(
            epoch=epoch + 1,
            step=step,
            steps=steps,
            global_step=sum(self.steps(before) for before in range(epoch)) + step,
            train_loss=loss,
            lr=self._lr(epoch, (step - 1) / self.full_steps(epoch)),
        )

    def _epoch_line(
        self,
        done: EpochState,
        train_loss: float,
        skipped_steps: int,
        compile_seconds: float,
        meter: EpochMeter,
    ) -> EpochLine:
        """The log's line on a whole epoch. Every rank has to call this."""
        plan, steps, full = self.plan(done.epoch), done.step, self.full_steps(done.epoch)
        images, device = steps * plan.global_batch - done.skips, self.ranks.device
        timed: dict[str, Any] = {
            "length": self.timeline.length,
            "schedule": self.timeline.schedule(done.epoch + steps / full),
        }
        return EpochLine(
            epoch=done.epoch + 1,
            epochs=self.timeline.count,
            train_loss=train_loss,
            lr=self._lr(done.epoch, steps / full),
            lr_peak=max(self._lr(done.epoch, step / full) for step in range(steps)),
            resolution=self.side(done.epoch, steps - 1),
            **(timed if self.timeline.changes or self.config.budget.adapt else {}),
            **plan.entry(),
            images=images,
            skipped=done.skips,
            skipped_steps=skipped_steps,
            images_per_second=images / done.seconds,
            data_wait_seconds=done.waited,
            compute_seconds=done.seconds - done.waited,
            train_seconds=done.seconds,
            compile_seconds=compile_seconds,
            host_memory_mb=None if (host := system.peak_memory()) is None else host / 2**20,
            device_memory_mb=None if (peak := peak_memory(device)) is None else peak / 2**20,
            **meter.entry(),
        )

    def plan(self, epoch: int, step: int = 0) -> BatchPlan:
        """The batch plan of an epoch, at a step of it."""
        return self.plans[self.side(epoch, step)]

    def full_steps(self, epoch: int) -> int:
        """Optimizer steps of a whole pass; images that do not fill a global batch are left out."""
        return self.num_samples // self.plan(epoch).global_batch

    def steps(self, epoch: int) -> int:
        """Optimizer steps of an epoch: those of a whole pass, fewer in the last epoch of a run that ends within it."""
        full, share = self.full_steps(epoch), self.timeline.share_of(epoch)
        return full if share >= 1 else max(1, round(share * full))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run, as planned now."""
        return sum(self.steps(epoch) for epoch in range(self.timeline.count))

    def side(self, epoch: int, step: int = 0) -> int:
        """The resolution at a step of an epoch, in pixels.

        It is that of the epoch's start; in a run whose length was changed, that of the start of the eighth of the epoch
        that the step is in, if its batches are laid out alike.
        """
        start = self._side_at(epoch)
        if not step or not self.timeline.changes:
            return start
        part = PARTS * step // self.full_steps(epoch)
        side = self._side_at(epoch + part / PARTS)
        return side if self.plans[side] == self.plans[start] else start

    def _side_at(self, epoch: float) -> int:
        return resolution_at(
            self.config.resolution, self.timeline.position(epoch), self.config.training.epochs
        )

    def _lr(self, epoch: int, share: float) -> float:
        """The learning rate after a `share` of a whole pass of the epoch."""
        rate = lr_at(self.config.lr, self.timeline.position(epoch + share), self.config.training.epochs)
        if self.config.lr.batch_scaling == "linear":
            rate *= self.plan(epoch).global_batch / self.config.training.batch_size
        return rate

    def batches(self, epoch: int, first_step: int) -> Generator[TrainBatch, None, None]:
        """This rank's augmented batches of an epoch, in order, starting with step `first_step`."""
        config, law, plan = self.config, self.config.augmentation, self.plan(epoch, first_step)
        windows = self._windows(epoch)
        order = self._order(epoch) if windows is None else without(windows.order, self._held)
        ids = batches_of(
            in_parts(
                order,
                self._parts,
                parts=self.order_parts,
                repeats=law.repeats,
                global_batch=plan.global_batch,
                accumulation=plan.accumulation,
            ),
            global_batch=plan.global_batch,
            accumulation=plan.accumulation,
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
        # A run that ends within the epoch should not read, and perhaps fail at, what it doesn't train on.
        batches = ids.reshape(-1, plan.device_batch)[: self.steps(epoch) * plan.accumulation]
        self.loader.load_state_dict({"batches": first_step * plan.accumulation})
        loaded = self.loader.batches(batches, self.side(epoch, first_step), crop, windows)
        if config.data.replay:
            loaded = replayed(loaded, config.data.replay, len(batches))
        return self._augmented(loaded, epoch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The epoch's views in random order, before repeats."""
        beton, seed, balance = self.loader.beton, self.config.training.seed, self.config.data.balance
        if balance == "none":
            return without(epoch_permutation(beton.num_samples, seed, epoch), self._held)
        labels = beton.labels[self._trained].astype(np.int64)
        return balanced_order(self._trained, labels, balance, seed=seed, epoch=epoch)

    def _never_short(self, batches: Generator[TrainBatch, None, None]) -> Iterator[TrainBatch]:
        """The batches, and a RuntimeError for a step that asks for more: it would count as one on all its images."""
        yield from batches
        raise RuntimeError("a training step got fewer batches than it takes")

    def _augmented(
        self, loaded: Generator[Batch, None, None], epoch: int
    ) -> Generator[TrainBatch, None, None]:
        with closing(loaded):
            for batch in loaded:
                yield self.augment(batch, epoch)

    def _windows(self, epoch: int) -> Windows | None:
        """The epoch in page-wise order; None if the order is random."""
        if self._pages is None:
            return None
        window_bytes = self.config.data.window_mb * 2**20
        return page_windows(
            self._pages, window_bytes=window_bytes, seed=self.config.training.seed, epoch=epoch
        )
