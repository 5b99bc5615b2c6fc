"""Global batch -> what one device takes at once and how often before a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.runs.time_left import Ahead
from engine.train.schedules import batch_at, resolution_at


@dataclass(frozen=True)
class BatchPlan:
    """global_batch = device_batch x accumulation x world, whatever the number of ranks."""

    global_batch: int
    device_batch: int
    accumulation: int
    world: int

    def entry(self) -> dict[str, Any]:
        """The plan's fields of the log's lines."""
        return {
            "global_batch": self.global_batch,
            "device_batch": self.device_batch,
            "accumulation": self.accumulation,
        }

    def __str__(self) -> str:
        return (
            f"global batch {self.global_batch} = {self.device_batch} images x "
            f"{self.accumulation} accumulation x {self.world} device{'s' if self.world > 1 else ''}"
        )


def plan_batches(
    global_batch: int, *, limit: int, world: int, num_train: int, option: str = "training.batch_size"
) -> BatchPlan:
    """The fewest accumulation steps with at most `limit` images on a device at once (0: no limit).

    Raises UserError, which names `option`, when the global batch exceeds the data or can't be divided evenly.
    """
    if global_batch > num_train:
        raise UserError(
            f"{option} {global_batch} (global) is more than the {num_train} training samples: lower it"
        )
    share, rest = divmod(global_batch, world)
    if rest or not share:
        lower, upper = global_batch - rest, global_batch + world - rest
        hint = f"{lower} or {upper}" if lower else f"{upper}"
        raise UserError(
            f"{option} {global_batch} (global) does not divide over {world} processes: use {hint}"
        )
    limit = limit or share
    accumulation = next(
        parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= limit
    )
    return BatchPlan(global_batch, share // accumulation, accumulation, world)


def plans_by_resolution(config: TrainConfig, world: int, num_train: int) -> dict[int, BatchPlan]:
    """The plan for each training resolution of the run, in the order in which they come.

    Raises UserError when one of the global batches exceeds the data or can't be divided evenly.
    """
    training, plans = config.training, {}
    for epoch in range(training.epochs):
        side = resolution_at(config.resolution, epoch, training.epochs)
        batch = batch_at(config.resolution, side, training.batch_size)
        own = "training.batch_size" if batch == training.batch_size else "resolution.batch_sizes"
        limit = training.device_batch_size
        plans[side] = plan_batches(batch, limit=limit, world=world, num_train=num_train, option=own)
    return plans


def epochs_ahead(config: TrainConfig, plans: Mapping[int, BatchPlan], num_train: int) -> list[Ahead]:
    """All epochs of a run on `num_train` images whose batches are laid out as in `plans`, which is by side."""
    epochs, found = config.training.epochs, []
    for epoch in range(epochs):
        side = resolution_at(config.resolution, epoch, epochs)
        batch = plans[side].global_batch
        validated = epoch + 1 == epochs or config.logging.log_level > 0
        found.append(Ahead(images=num_train // batch * batch, side=side, validated=validated))
    return found
