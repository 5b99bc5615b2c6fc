"""One optimizer step over a global batch, and all of the state that it changes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engine.config.train.train_config import TrainConfig
from engine.devices import is_cuda, of_cuda
from engine.errors import UserError
from engine.train.augment.chain import TrainBatch
from engine.train.optimizers.optimizer import build_optimizer
from engine.train.ranks.backends import deterministic_errors
from engine.train.ranks.group import Ranks
from engine.train.step.batch_counters import BatchCounters
from engine.train.step.compiling import CompiledForward, Forward, compiles
from engine.train.step.exchange import exchanging
from engine.train.step.graphs import graphed
from engine.train.step.losses import Objective
from engine.train.step.nonfinite import SkippingUpdate
from engine.train.step.precision import Precision
from engine.train.step.sam import Sam
from engine.train.step.weight_average import Ema


class Step:
    """Trains `model` in place, one global batch at a time. Nothing in it waits for the device.

    `ema` is the average of the weights, None without training.ema_half_life. Raises UserError on construction for
    options that this device or network can't have.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        precision: Precision,
        model: nn.Module,
        num_classes: int,
        names: Sequence[str] | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self.ranks, self.precision, training = ranks, precision, config.training
        if training.sync_bn:
            _synchronise_norms(model, ranks)
        self.channels_last = training.channels_last
        self.optimizer = build_optimizer(model, config)
        self.scaler = precision.scaler()
        self.objective = Objective(config, num_classes, ranks.device, names, weights)
        self.model = model
        if ranks.world > 1:
            self.model = exchanging(model, ranks, training)
        self.ema: Ema | None = None
        if training.ema_half_life:
            self.ema = Ema(model, half_life=training.ema_half_life, every=training.ema_every)
        self._sam = None
        if training.sam_rho:
            self._sam = Sam(model, rho=training.sam_rho, interval=training.sam_interval)
        self._counters = BatchCounters(model)
        self._forward: Forward = self.model
        self._compiled = None
        if compiles(training.compile, ranks.device):
            self._forward = self._compiled = CompiledForward(
                self.model,
                ranks,
                precision,
                channels_last=training.channels_last,
                variations=self._passes,
                combo_kernels=training.combo_kernels,
            )
        self._skipping = None
        if training.nonfinite == "skip":
            self._skipping = SkippingUpdate(self.optimizer, self.scaler, model)
        self._clip_norm = training.clip_norm
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._taken = torch.zeros((), dtype=torch.bool, device=ranks.device)
        self._graphs = graphed(ranks, self._weights, self._pass) if training.cuda_graphs else None

    def prepare(self, count: int, side: int) -> float:
        """Compile for batches of `count` images of `side` pixels, if asked for; returns the seconds it took."""
        if self._graphs:
            self._graphs.expect(count)
        return self._compiled.prepare(count, side) if self._compiled else 0.0

    def take(
        self, batches: Iterator[TrainBatch], accumulation: int, *, lr: float, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Step `number` of the run (from 0), over the next `accumulation` batches, with learning rate `lr`.

        Returns the sum of their losses and whether the step was skipped (training.nonfinite), both 0-dim on the device.
        """
        if self._skipping:
            self._skipping.remember()
        parts: Iterable[TrainBatch] = islice(batches, accumulation)
        if self._sam and self._sam.climbs(number):
            # They are used twice.
            parts = list(parts)
            loss = self._backward(parts, accumulation)
            with self._sam.climbed():
                self._backward(parts, accumulation, again=True)
        else:
            loss = self._backward(parts, accumulation)
        left_out = self._update(lr)
        if self.ema:
            self.ema.update(number)
        return loss, left_out

    def _backward(
        self, parts: Iterable[TrainBatch], accumulation: int, *, again: bool = False
    ) -> torch.Tensor:
        """Compute the gradients of the mean loss over all parts and ranks; returns the sum of this rank's losses.

        `again`: it is SAM's second pass over them.
        """
        total = torch.zeros((), device=self.ranks.device)
        for index, batch in enumerate(parts, start=1):
            with self._keep_gradients_here(index < accumulation), deterministic_errors():
                if self._graphs:
                    total += self._graphs(batch, accumulation, first=index == 1, again=again)
                else:
                    total += self._pass(batch, accumulation)
        return total

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """A training pass over normalised images (n, 3, side, side): logits (n, classes). Autocast is the caller's."""
        with self._counters.together():
            return self._forward(images)

    def _pass(self, batch: TrainBatch, accumulation: int) -> torch.Tensor:
        """Add a batch's gradients to those of the weights; returns its loss."""
        with self.precision.autocast():
            loss = self.objective(batch.images, self.logits(batch.images), batch.targets)
        self.scaler.scale(loss / accumulation).backward()
        return loss.detach()

    def _update(self, lr: float) -> torch.Tensor:
        """Update the weights and clear the gradients; returns whether the step was skipped."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        left_out = self._taken
        if self._skipping:
            left_out = self._skipping.step(self._clip())
        else:
            if self._clip_norm:
                self._clip()
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return left_out

    def _clip(self) -> torch.Tensor:
        """Clip the gradients to clip_norm, if it is set; returns their norm before."""
        self.scaler.unscale_(self.optimizer)
        length = nn.utils.get_total_norm([weight.grad for weight in self._weights if weight.grad is not None])
        if self._clip_norm:
            nn.utils.clip_grads_with_norm_(self._weights, self._clip_norm, length)
        return length

    def state_dict(self) -> dict[str, Any]:
        """The state of a checkpoint besides the model's weights."""
        state = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        return {**state, "ema": self.ema.model.state_dict()} if self.ema else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a `state_dict`; other keys are ignored."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.model.load_state_dict(state["ema"])

    def _passes(self) -> list[AbstractContextManager[None]]:
        """The contexts in which a forward pass runs: plain, and SAM's second pass."""
        return [self._counters.together(), *([self._sam.resting()] if self._sam else [])]

    def _keep_gradients_here(self, keep: bool) -> AbstractContextManager[None]:
        """A context without the exchange of gradients: ranks exchange them only with the last accumulated batch."""
        if keep and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()


def _synchronise_norms(model: nn.Module, ranks: Ranks) -> None:
    """Make batch norms take their statistics over all ranks. Raises UserError on devices where torch can't."""
    if not is_cuda(ranks.device):
        raise UserError(
            f"training.sync_bn needs GPUs{of_cuda(ranks.device)}, and this run is on the {ranks.device.type}: drop it"
        )
    if ranks.world > 1:
        # In place, unless the network itself is a norm.
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
