"""One optimizer step over a global batch: what the hot loop does, and all of the state that it changes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engine.config.schema import TrainConfig
from engine.data.loader import Batch
from engine.train.distributed import Ranks
from engine.train.optimizer import build_optimizer
from engine.train.precision import Precision


class Step:
    """Trains `model` in place, a global batch at a time. Nothing in it waits for the device."""

    def __init__(self, config: TrainConfig, ranks: Ranks, precision: Precision, model: nn.Module) -> None:
        self.ranks, self.precision = ranks, precision
        self.optimizer = build_optimizer(model, config)
        self.scaler = precision.scaler()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=config.training.label_smoothing)
        self.model = model
        if ranks.world > 1:
            # Batch-norm statistics stay each rank's own; the validator hands rank 0's out.
            self.model = DistributedDataParallel(
                model,
                device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                broadcast_buffers=False,
            )

    def take(self, batches: Iterator[Batch], accumulation: int, lr: float) -> torch.Tensor:
        """One step over the next `accumulation` batches; returns the sum of their losses, on the device."""
        total = torch.zeros((), device=self.ranks.device)
        for part in range(accumulation):
            batch = next(batches)
            with self._keep_gradients_here(part + 1 < accumulation):
                with self.precision.autocast():
                    loss = self.criterion(self.model(batch.images), batch.labels)
                self.scaler.scale(loss / accumulation).backward()
            total += loss.detach()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the model's own weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; other keys are ignored."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _keep_gradients_here(self, keep: bool) -> AbstractContextManager[None]:
        """Ranks exchange gradients only with the last of the accumulated batches."""
        if keep and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()
