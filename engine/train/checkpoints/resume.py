"""Going on with a run from a checkpoint: what is in one, and that it is of this recipe and these data.

Order, crops, random numbers and schedules are functions of (seed, epoch, step), so weights, their average, optimizer,
scaler and how far the epoch is are all the state there is. On a CPU a run goes on to the bit as if never
interrupted, on as many ranks; on another number of them, or a GPU without training.deterministic, to rounding.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.config.load import to_dict
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import identity
from engine.data.beton.reader import Beton
from engine.errors import UserError
from engine.train.batching import BatchPlan
from engine.train.checkpoints import store
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.ranks.group import Ranks
from engine.train.trainer import Trainer

AUTO = "auto"

# What may differ when a run is taken up again: nothing here changes what it computes.
_MAY_DIFFER = {
    "data.num_workers",
    "data.in_memory",
    "data.pin_cores",
    # Their contents may not: see `data`.
    "data.train_dataset",
    "data.val_dataset",
    # Which part of a global batch a device takes at once, as the number of ranks does.
    "training.device_batch_size",
    # Where it began: what it goes on from has these weights, and more, in it.
    "model.weights",
    "model.use_ema",
    "model.reset_head",
    "training.first_stage",
    "training.resume",
    "validation.batch_size",
}
_SECTIONS_MAY_DIFFER = {"logging", "budget", "reference", "checkpoint"}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, the seconds spent on it, and the best accuracy so far (a share; 0: none yet)."""

    state: EpochState
    elapsed: float
    best: float = 0.0


def data_of(train: Beton, val: Beton) -> dict[str, str]:
    """What a run trains and validates on, in words that tell other data."""
    return {"train": identity(train), "val": identity(val)}


def content(
    config: TrainConfig, trainer: Trainer, data: dict[str, str], progress: Progress
) -> dict[str, Any]:
    """A checkpoint: everything that going on needs, as tensors, numbers and text."""
    return {
        "model": trainer.model.state_dict(),
        **trainer.step.state_dict(),
        **asdict(progress.state),
        "elapsed": progress.elapsed,
        "best": progress.best,
        "data": data,
        "world": trainer.ranks.world,
        "plans": {side: asdict(plan) for side, plan in trainer.plans.items()},
        "config": to_dict(config),
    }


def restore(config: TrainConfig, trainer: Trainer, data: dict[str, str]) -> Progress:
    """Load the state of the run folder that training.resume names: the first rank reads it, and hands it out.

    Raises UserError when there is none, or when recipe or data are not those that the run was started with.
    """
    ranks = trainer.ranks
    found = ranks.agree(_read(config, data) if ranks.main else None)
    assert found is not None
    trainer.model.load_state_dict(found["model"], strict=True)
    trainer.step.load_state_dict(found)
    limit = found["config"]["training"].get("device_batch_size", config.training.device_batch_size)
    if found["world"] == ranks.world and limit == config.training.device_batch_size:
        # As training.fit_memory found them: another division of the batch would round differently.
        trainer.plans = {side: BatchPlan(**plan) for side, plan in found["plans"].items()}
    state = EpochState(**{name: found[name] for name in asdict(EpochState())})
    return Progress(state=state, elapsed=found["elapsed"], best=found["best"])


def _read(config: TrainConfig, data: dict[str, str]) -> dict[str, Any]:
    path, found = store.load_newest(Path(config.training.resume))
    if "optimizer" not in found:
        raise UserError(f"training.resume: {path} holds only weights: pass it as model.weights instead")
    refuse_other_recipe(config, found["config"])
    for split, now in data.items():
        if found["data"][split] != now:
            raise UserError(
                f"training.resume: data.{split}_dataset is not the file that run was started with: it had "
                f"{found['data'][split]}, this one has {now}"
            )
    return found


def refuse_other_data(ranks: Ranks, data: dict[str, str]) -> None:
    """Raises UserError where the ranks' hosts have different files."""
    for rank, theirs in enumerate(ranks.all_say(data)):
        for split, says in theirs.items():
            if says != data[split]:
                raise UserError(
                    f"data.{split}_dataset: rank {ranks.rank} has another file ({data[split]}) than rank {rank} "
                    f"({says}): copy the same one to all hosts"
                )


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
