"""The options of section `checkpoint`: when a run's state is saved, how much of it is kept, where it is copied."""

from dataclasses import dataclass
from typing import Any

from engine.config.options import json_object, option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save the state that training.resume continues from.

    A checkpoint is also saved at the end of each epoch.
    """

    every_minutes: float = option(
        10.0,
        "also save within an epoch, when this much time has passed since the last checkpoint; 0 = only at the end of "
        "an epoch",
        unit="minutes",
        low=0,
    )
    keep: int = option(
        2,
        "how many of the newest checkpoints to keep; if the last one is damaged, resume uses the one before",
        low=1,
    )
    keep_best: bool = option(
        True, "also keep the checkpoint with the best validation accuracy, as checkpoints/best.pt"
    )
    copy_to: str = option(
        "",
        "URL (any that fsspec supports, such as s3://BUCKET/runs) to copy each checkpoint and the log to, below the "
        "run's name; --training.resume=auto fetches them from there if this machine has none; empty = no copies",
    )
    storage_options: str = option(
        "",
        'with copy_to: options for fsspec as a JSON object, such as {"endpoint_url": "http://..."}',
    )

    def storage(self) -> dict[str, Any]:
        """storage_options as a dictionary. Raises UserError for anything but a JSON object."""
        return json_object("checkpoint.storage_options", self.storage_options)


def check_checkpoint(checkpoint: CheckpointConfig) -> None:
    """Raises UserError for options of section `checkpoint` that don't go together."""
    checkpoint.storage()
    if checkpoint.storage_options and not checkpoint.copy_to:
        raise UserError("checkpoint.storage_options has no effect without checkpoint.copy_to: set both")
