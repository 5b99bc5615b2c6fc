"""The options of section `checkpoint`: when a run's state is saved, how much of it is kept, and where it is copied."""

import json
from dataclasses import dataclass
from typing import Any

from engine.config.options import option
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What a run that is killed can go on from (training.resume). It is saved at the end of each epoch as well."""

    every_minutes: float = option(
        10.0,
        "save amid an epoch too, when this many minutes have gone by since the last time; 0: never",
        low=0,
    )
    keep: int = option(
        2, "how many of the newest are kept: where the last is damaged, one before it serves", low=1
    )
    keep_best: bool = option(True, "keep the one with the best validation as checkpoints/best.pt as well")
    copy_to: str = option(
        "",
        "any URL that fsspec knows, such as s3://BUCKET/runs: each checkpoint is copied there with the log, under the "
        "run's name, and --training.resume=auto fetches it where this machine has none",
    )
    storage_options: str = option(
        "", 'JSON for fsspec\'s file system behind copy_to, such as {"endpoint_url": "http://..."}'
    )

    def storage(self) -> dict[str, Any]:
        """What storage_options says. Raises UserError for anything but a JSON object."""
        try:
            options = json.loads(self.storage_options or "{}")
        except ValueError as error:
            raise UserError(f"checkpoint.storage_options is not JSON: {error}") from None
        if not isinstance(options, dict):
            raise UserError("checkpoint.storage_options is not a JSON object")
        return options


def check_checkpoint(checkpoint: CheckpointConfig) -> None:
    """Raises UserError for options that don't fit each other."""
    checkpoint.storage()
    if checkpoint.storage_options and not checkpoint.copy_to:
        raise UserError("checkpoint.storage_options means nothing without checkpoint.copy_to: set that too")
