"""What a run has before it, epoch by epoch, for whoever wants to foresee when it ends (engine/report/terminal/live.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config.train.train_config import TrainConfig
from engine.train.batching import BatchPlan
from engine.train.schedules import resolution_at


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Training on `images` images of `side` pixels a side, and whether a validation follows."""

    images: int
    side: int
    validated: bool = True


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The epochs of a run (or of one stage, with those of the stages that come after it), from its very first on."""

    epochs: Sequence[Ahead]
    later: Sequence[Ahead] = ()
    done: int = 0
    """Images of `epochs` that were trained on before this process began."""
    label: str = ""
    """Which stage it is, as Stage.label has it."""


def epochs_ahead(config: TrainConfig, plans: Mapping[int, BatchPlan], num_train: int) -> list[Ahead]:
    """All epochs of a run on `num_train` images whose batches are laid out as `plans` say, by side."""
    epochs, found = config.training.epochs, []
    for epoch in range(epochs):
        side = resolution_at(config.resolution, epoch, epochs)
        batch = plans[side].global_batch
        validated = epoch + 1 == epochs or config.logging.log_level > 0
        found.append(Ahead(images=num_train // batch * batch, side=side, validated=validated))
    return found
