"""Steps with a non-finite loss or gradients: noticed and skipped without waiting for the device in each step."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.train.ranks.group import Ranks

LOOK_EVERY = 50
"""Steps between two reads of the losses; each read waits for the device and the other ranks."""


class EpochLosses:
    """The losses of an epoch's steps: kept on the device, and read every LOOK_EVERY steps and at the end.

    Every rank reads the same sums, so that all stop at the same step. After each read `told` is called with the number
    of steps so far and the mean loss of the steps since the last read, without skipped ones. Reads come at the same
    steps however often a run is interrupted.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        *,
        epoch: int,
        steps: int,
        accumulation: int,
        told: Callable[[int, float], None] | None = None,
    ) -> None:
        self.config, self.ranks, self.epoch, self._told = config, ranks, epoch, told
        self.skipped = 0
        self._parts = accumulation * ranks.world
        self._sums = torch.zeros(2, steps, device=ranks.device)
        self._noted = self._seen = 0
        self._losses: list[float] = []

    def note(self, loss: torch.Tensor, left_out: torch.Tensor) -> None:
        """Add the next step: the sum of this rank's losses, and whether it was skipped; both on the device.

        Raises UserError for the first step whose loss is not finite or too high, and when every step was skipped.
        """
        self._sums[0, self._noted], self._sums[1, self._noted] = loss, left_out
        self._noted += 1
        if self._noted - self._seen == LOOK_EVERY:
            self._look()

    def mean(self) -> float:
        """The mean loss of all steps that were not skipped. Raises UserError as `note` does."""
        if self._seen < self._noted:
            self._look()
        if not self._losses:
            raise self._all_left_out(self._noted)
        return math.fsum(self._losses) / len(self._losses)

    def state_dict(self) -> dict[str, Any]:
        """The losses so far, on the CPU and the same on every rank, including those that were not read yet."""
        pending = self._sums[:, self._seen : self._noted].clone()
        if pending.numel():
            self.ranks.sum(pending)
        return {
            "losses": torch.tensor(self._losses, dtype=torch.float64),
            "pending": pending.cpu(),
            "parts": self._parts,
            "seen": self._seen,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the steps of a `state_dict`."""
        self._losses, self._seen = state["losses"].tolist(), state["seen"]
        self.skipped, self._noted = state["skipped"], state["seen"] + state["pending"].shape[1]
        # They are sums over all ranks already, so only rank 0 takes them.
        if self.ranks.main:
            pending, parts = state["pending"].clone(), state.get("parts", self._parts)
            # Another number of ranks or accumulation steps sums another number of losses.
            if parts != self._parts:
                pending[0] *= self._parts / parts
            self._sums[:, self._seen : self._noted] = pending.to(self._sums.device)

    def _look(self) -> None:
        """Read the steps since the last read."""
        window = self.ranks.sum(self._sums[:, self._seen : self._noted].clone()).tolist()
        before = len(self._losses)
        for step, (total, left_out) in enumerate(zip(*window, strict=True), start=self._seen + 1):
            if left_out:
                self.skipped += 1
            else:
                self._losses.append(self._checked(step, total / self._parts))
        kept = self._losses[before:]
        # The rest at the end of an epoch may be a single step, and fp16 skips one now and then.
        if not kept and len(window[1]) >= LOOK_EVERY:
            raise self._all_left_out(len(window[1]))
        self._seen = self._noted
        if self._told and kept:
            self._told(self._noted, math.fsum(kept) / len(kept))

    def _all_left_out(self, steps: int) -> UserError:
        return UserError(
            f"epoch {self.epoch + 1}: the gradients of the {steps} steps up to step {self._noted} were all not "
            f"finite: {self._advice()}"
        )

    def _checked(self, step: int, loss: float) -> float:
        limit = self.config.training.loss_limit
        if math.isfinite(loss) and loss <= limit:
            return loss
        where = f"epoch {self.epoch + 1}, step {step} of {self._sums.shape[1]}"
        above = f", above training.loss_limit {limit:g}" if math.isfinite(loss) else ""
        raise UserError(f"{where}: the training loss became {loss:g}{above}: {self._advice()}")

    def _advice(self) -> str:
        return f"lower lr.lr (it is {self.config.lr.lr:g}) or set training.clip_norm"


class SkippingUpdate:
    """Optimizer steps that leave everything unchanged if the gradients are not finite.

    The gradients are those of all ranks, so all ranks skip the same steps. Fused optimizers decide on the device; the
    others wait for it in each step.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, model: nn.Module
    ) -> None:
        self.optimizer, self.scaler = optimizer, scaler
        self._statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._before: list[torch.Tensor] = []

    def remember(self) -> None:
        """Call before the forward pass, which changes batch-norm statistics."""
        self._before = [buffer.clone() for buffer in self._statistics]

    def step(self, length: torch.Tensor) -> torch.Tensor:
        """Update the weights if `length`, the norm of all gradients, is finite; returns whether it is not, 0-dim."""
        bad = ~length.isfinite()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        elif self.optimizer.defaults.get("fused"):
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not bad.item():
            self.optimizer.step()
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(torch.where(bad, before, buffer))
        return bad
