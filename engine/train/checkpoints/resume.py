"""Resuming a run from a checkpoint: what a checkpoint holds, and the check that recipe and data are the same.

Order, crops, random numbers and schedules are functions of (seed, epoch, step). So the whole state is: the weights,
their average, optimizer, scaler, and the position in the epoch. On a CPU with the same number of ranks a resumed run
equals an uninterrupted one to the bit; on another number, or a GPU without training.deterministic, to rounding.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.config.load import to_dict
from engine.config.options import options_of
from engine.config.train.train_config import TrainConfig
from engine.data.beton.manifest import check_same_classes
from engine.data.beton.pair import identity
from engine.data.beton.reader import Beton
from engine.errors import UserError
from engine.train.batching import BatchPlan
from engine.train.budget.timeline import Timeline
from engine.train.checkpoints import store
from engine.train.checkpoints.checkpoint_file import EpochState
from engine.train.ranks.group import Ranks
from engine.train.schedules import same_so_far
from engine.train.trainer import Trainer

AUTO = "auto"

# Options that may differ on resume: none of them changes the result.
_MAY_DIFFER = {
    "data.num_workers",
    "data.in_memory",
    "data.pin_cores",
    # Where crops are cut. The checkpoint has the order; a CPU with data.decoder=auto rounds levels otherwise.
    "data.resident",
    # The contents must be the same: see `data_of`.
    "data.train_dataset",
    "data.val_dataset",
    # How they get here.
    "data.cache_folder",
    "data.cache_gb",
    "data.storage_options",
    # Compared with the data.
    "data.classes",
    # Only how a global batch is split, like the number of ranks.
    "training.device_batch_size",
    # Only how sums are rounded, like the number of ranks.
    "training.compile",
    "training.combo_kernels",
    "training.cuda_graphs",
    # Where the run started from: the checkpoint holds these weights and more.
    "model.weights",
    "model.use_ema",
    "model.reset_head",
    "model.weights_key",
    "model.match_classes",
    "training.first_stage",
    "training.resume",
    # The checkpoint has the one in force.
    "training.timeline",
    # How often accuracy is looked at.
    "validation.every",
    "validation.batch_size",
}
_EPOCHS = "training.epochs"
_SECTIONS_MAY_DIFFER = {"logging", "budget", "plan", "reference", "checkpoint"}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The position of a run, the seconds spent on it, and the best top-1 so far (a share; 0 = none yet)."""

    state: EpochState
    elapsed: float
    best: float = 0.0
    began: float = 0.0
    """When the run was first started (time.time); 0 = not known, as in older checkpoints."""
    setup: float = 0.0
    """Seconds before its first step."""
    target_seconds: float | None = None
    """Seconds from its first step to the validation that reached the target; None: not reached yet."""
    keeper: dict[str, Any] = field(default_factory=dict)
    """Keeper.state_dict(); empty without budget.adapt."""
    alarm: dict[str, Any] = field(default_factory=dict)
    """Alarm.state_dict(); empty in older checkpoints."""


def data_of(train: Beton, val: Beton) -> dict[str, str]:
    """The identity of the training and validation data, in words that differ for other data."""
    return {"train": identity(train), "val": identity(val)}


def content(
    config: TrainConfig, trainer: Trainer, data: dict[str, str], progress: Progress
) -> dict[str, Any]:
    """The content of a checkpoint: everything that resuming needs, as tensors, numbers and text."""
    return {
        "model": trainer.model.state_dict(),
        **trainer.step.state_dict(),
        **asdict(progress.state),
        "elapsed": progress.elapsed,
        "best": progress.best,
        "began": progress.began,
        "setup": progress.setup,
        "target_seconds": progress.target_seconds,
        "keeper": progress.keeper,
        "alarm": progress.alarm,
        "timeline": str(trainer.timeline),
        "order_parts": trainer.order_parts,
        "data": data,
        "classes": trainer.class_names,
        "world": trainer.ranks.world,
        "plans": {side: asdict(plan) for side, plan in trainer.plans.items()},
        "config": to_dict(config),
    }


def read(
    config: TrainConfig, ranks: Ranks, data: dict[str, str], names: Sequence[str] | None
) -> dict[str, Any]:
    """The newest checkpoint of the run folder that training.resume names: rank 0 reads it and sends it to the others.

    `names` are the data's classes, if known. Raises UserError when there is none, or when recipe or data differ from
    those that the run was started with.
    """
    found = ranks.agree(_read(config, data, names) if ranks.main else None)
    assert found is not None
    return found


def order_parts(found: dict[str, Any]) -> int:
    """In how many parts the order of a checkpoint's run draws; older ones know only the whole."""
    return int(found.get("order_parts", 1))


def restore(config: TrainConfig, trainer: Trainer, found: dict[str, Any]) -> Progress:
    """Load the state that a checkpoint holds (`read`)."""
    ranks = trainer.ranks
    trainer.model.load_state_dict(found["model"], strict=True)
    trainer.step.load_state_dict(found)
    limit = found["config"]["training"].get("device_batch_size", config.training.device_batch_size)
    if found["world"] == ranks.world and limit == config.training.device_batch_size:
        # The plans that training.fit_memory found: another split of the batch would round differently.
        trainer.plans |= {side: BatchPlan(**plan) for side, plan in found["plans"].items()}
    trainer.timeline = Timeline.parse(_in_force(found, config.training.timeline), config.training.epochs)
    state = EpochState(**{name: found[name] for name in asdict(EpochState())})
    later = {
        name: found[name] for name in ("began", "setup", "target_seconds", "keeper", "alarm") if name in found
    }
    return Progress(state=state, elapsed=found["elapsed"], best=found["best"], **later)


def _in_force(found: dict[str, Any], asked: str = "") -> str:
    """The timeline that a checkpoint goes on with; older checkpoints have none.

    `asked`, the run's own config.yaml perhaps, may have changes that were made after the checkpoint was saved.
    """
    saved = str(found.get("timeline", ""))
    # Without changes so far, only a run that is adapted may have made some since.
    extends = asked.startswith(f"{saved}, ") if saved else bool(asked and found.get("keeper"))
    return asked if extends else saved


def _read(config: TrainConfig, data: dict[str, str], names: Sequence[str] | None) -> dict[str, Any]:
    path, found = store.load_newest(Path(config.training.resume))
    if "optimizer" not in found:
        raise UserError(f"training.resume: {path} holds only weights: pass it as model.weights instead")
    refuse_other_run(config, found, data)
    if names and found.get("classes"):
        where = f"{path}: training.resume needs the classes that the run was started with"
        check_same_classes(found["classes"], names, where, ("the run", "the data"))
    return found


def refuse_other_run(config: TrainConfig, found: dict[str, Any], data: dict[str, str]) -> None:
    """Raises UserError if recipe or data are not those of the run whose checkpoint holds `found`."""
    steady = not (found.get("timeline") or found.get("keeper") or config.budget.adapt)
    begun = found["epoch"] + (found["step"] > 0)
    refuse_other_recipe(config, found["config"], begun if steady else None)
    timeline, begun_with = config.training.timeline, found["config"]["training"].get("timeline", "")
    if timeline not in ("", begun_with, _in_force(found, timeline)):
        raise UserError(
            f"training.resume: the run has training.timeline={_in_force(found)!r} in force, not {timeline!r}: give the "
            "recipe that it was started with, or its config.yaml"
        )
    for split, now in data.items():
        if found["data"][split] != now:
            raise UserError(
                f"training.resume: data.{split}_dataset is not the file that this run was started with: it had "
                f"{found['data'][split]}, this one has {now}; pass that file, or start another run, under another "
                "logging.name"
            )


def refuse_other_data(ranks: Ranks, data: dict[str, str]) -> None:
    """Raises UserError if the hosts of the ranks have different data files."""
    for rank, theirs in enumerate(ranks.all_say(data)):
        for split, says in theirs.items():
            if says != data[split]:
                raise UserError(
                    f"data.{split}_dataset: rank {ranks.rank} has another file ({data[split]}) than rank {rank} "
                    f"({says}): copy the same one to all hosts"
                )


def files_of(config: TrainConfig, data: dict[str, str]) -> dict[str, str]:
    """The identity of each data file by its path, from that of each split."""
    return {config.data.train_dataset: data["train"], config.data.val_dataset: data["val"]}


def refuse_changed_files(seen: dict[str, str], config: TrainConfig, data: dict[str, str]) -> None:
    """Raises UserError for a data file of which an earlier stage read other content; `seen` (path -> identity) learns
    what this one reads.
    """
    for path, now in files_of(config, data).items():
        if seen.setdefault(path, now) != now:
            raise UserError(
                f"{path} is another file than in an earlier stage (it had {seen[path]}, and has {now} now): put the "
                "file back that was there, then resume the run"
            )


def refuse_other_recipe(
    config: TrainConfig, before: dict[str, dict[str, Any]], begun: int | None = None
) -> None:
    """Raises UserError if `config` differs from `before`, the recipe that the run was started with (load.to_dict).

    training.epochs may differ where a run of that many epochs would have had the same schedules in the `begun` epochs
    so far; None: not at all.
    """
    changes = []
    for section, options in to_dict(config).items():
        specs = options_of(type(getattr(config, section)))
        for key, now in options.items():
            name = f"{section}.{key}"
            if section in _SECTIONS_MAY_DIFFER or name in _MAY_DIFFER:
                continue
            # An option that is newer than that run: the run behaved like its default.
            then = before.get(section, {}).get(key, specs[key].default)
            if then != now and not (name == _EPOCHS and _lasts_as_well(config, then, begun)):
                changes.append(f"{name}={then}, not {now}")
    if changes:
        advice = "change it back, or start another run, under another logging.name"
        if any(change.startswith(_EPOCHS) for change in changes):
            kind = config.lr.lr_schedule_type
            advice += (
                f" (lr.lr_schedule_type={kind} depends on training.epochs; to train the run's weights further, start "
                "another run with model.weights=FILE)"
            )
        raise UserError(f"training.resume: the run was started with {'; '.join(changes)}: {advice}")


def _lasts_as_well(config: TrainConfig, epochs: int, begun: int | None) -> bool:
    """Whether a run of `epochs` that has begun so many of them may have training.epochs instead."""
    if begun is None or config.training.epochs < begun:
        return False
    return same_so_far(config.lr, config.resolution, (epochs, config.training.epochs), begun)
