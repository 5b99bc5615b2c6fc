"""Global batch -> what one device takes at once and how often before a step."""

from dataclasses import dataclass

from engine.config.schema import TrainingConfig
from engine.errors import UserError


@dataclass(frozen=True)
class BatchPlan:
    """global_batch = device_batch x accumulation x world, whatever the number of ranks."""

    global_batch: int
    device_batch: int
    accumulation: int
    world: int

    def entry(self) -> dict[str, int]:
        """The plan's part of the log."""
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


def plan_batches(training: TrainingConfig, world: int, num_train: int) -> BatchPlan:
    """The fewest accumulation steps that keep to training.device_batch_size.

    Raises UserError when the global batch exceeds the data or can't be divided evenly.
    """
    total = training.batch_size
    if total > num_train:
        raise UserError(
            f"training.batch_size {total} (global) is more than the {num_train} training samples: lower it"
        )
    share, rest = divmod(total, world)
    if rest or not share:
        lower, upper = total - rest, total + world - rest
        hint = f"{lower} or {upper}" if lower else f"{upper}"
        raise UserError(
            f"training.batch_size {total} (global) does not divide over {world} processes: use {hint}"
        )
    limit = training.device_batch_size or share
    accumulation = next(
        parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= limit
    )
    return BatchPlan(total, share // accumulation, accumulation, world)
