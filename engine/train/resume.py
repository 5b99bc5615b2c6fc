"""Going on with an interrupted run from its last finished epoch.

Order, crops and schedules are functions of (seed, epoch), so weights, their average, optimizer, scaler and the
number of finished epochs are all the state there is; on a CPU the run goes on to the bit as if never interrupted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engine.config.load import to_dict
from engine.config.options import options_of
from engine.config.schema import TrainConfig
from engine.errors import UserError
from engine.train import checkpoint
from engine.train.trainer import Trainer

LAST = Path("checkpoints") / "last.pt"

# What may differ when a run is taken up again: nothing here changes what it computes.
_MAY_DIFFER = {
    "data.num_workers",
    "data.in_memory",
    "data.pin_cores",
    "data.train_dataset",
    "data.val_dataset",
    # Where it began: what it goes on from has these weights, and more, in it.
    "model.weights",
    "model.use_ema",
    "model.reset_head",
    "training.first_stage",
    "training.resume",
    "validation.batch_size",
}
_SECTIONS_MAY_DIFFER = {"logging", "budget", "reference"}


@dataclass(frozen=True)
class Progress:
    """Finished epochs, and the seconds spent on them."""

    epoch: int
    elapsed: float


def save(
    folder: Path, config: TrainConfig, trainer: Trainer, model: nn.Module, epoch: int, elapsed: float
) -> None:
    """Write the state after `epoch` finished epochs into the run's folder. Raises UserError (full disk, ...)."""
    content = {
        "model": model.state_dict(),
        **trainer.step.state_dict(),
        "epoch": epoch,
        "elapsed": elapsed,
        "config": to_dict(config),
    }
    checkpoint.save(folder / LAST, content)


def restore(config: TrainConfig, trainer: Trainer, model: nn.Module) -> Progress:
    """Load the state of the run folder that training.resume names.

    Raises UserError when there is none, or when the recipe is not the one that the run was started with.
    """
    path = Path(config.training.resume) / LAST
    if not path.is_file():
        raise UserError(
            f"training.resume: {path} does not exist: no epoch of that run was finished; start anew"
        )
    content = checkpoint.load(path)
    if "optimizer" not in content:
        raise UserError(f"training.resume: {path} holds only weights: pass it as model.weights instead")
    refuse_other_recipe(config, content["config"])
    model.load_state_dict(content["model"], strict=True)
    trainer.step.load_state_dict(content)
    return Progress(content["epoch"], content["elapsed"])


def refuse_other_recipe(config: TrainConfig, before: dict[str, dict[str, Any]]) -> None:
    """Raises UserError where `config` is not what a run was started with: `before`, as load.to_dict gives it."""
    for section, options in to_dict(config).items():
        specs = options_of(type(getattr(config, section)))
        for key, now in options.items():
            name = f"{section}.{key}"
            if section in _SECTIONS_MAY_DIFFER or name in _MAY_DIFFER:
                continue
            # An option that is newer than that run: its default is what the run did.
            then = before.get(section, {}).get(key, specs[key].default)
            if then != now:
                raise UserError(f"training.resume: that run was started with {name}={then}, not {now}")
