"""A run of several stages: which of them are left to do, what those before them read, and the file that repeats it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import yaml

from engine.config.load import to_dict
from engine.config.stages import as_recipe
from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes, refuse_other_classes
from engine.data.remote.open_data import open_data
from engine.errors import UserError
from engine.files import atomic_write
from engine.runs.folder import LOG, STAGES, checkpoints_of, stage_folder
from engine.runs.log_file import refuse_taken
from engine.runs.log_reader import build_history, read_log
from engine.runs.log_schema import LogLine, StartLine
from engine.runs.run_writer import new_folder
from engine.train.checkpoints import resume
from engine.train.checkpoints.remote_copy import RemoteCopy
from engine.train.recipe.recipe_start import naming_stage, read_recipe, refuse_other_stages
from engine.train.run_base import with_known_classes


@dataclass(frozen=True, kw_only=True)
class StagedRun:
    """A run of several stages of which those from `number` (counted from 1) on are left to do.

    The clock of that one starts at `elapsed` seconds. `begun`: it has a log already; `saved`: a checkpoint too;
    `longer`: the last stage has another length than when the run was begun. The first one was started at `began`
    (time.time, 0: not known), and had its first step `setup` seconds later. `seen`: the identity of each data file
    that the stages before it read, by its path.
    """

    folder: Path
    stages: Sequence[TrainConfig]
    number: int
    elapsed: float = 0.0
    begun: bool = False
    saved: bool = False
    longer: bool = False
    began: float = 0.0
    setup: float = 0.0
    seen: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The stage that the run began with."""
        return self.stages[0].training.first_stage

    def config(self) -> TrainConfig:
        """The configuration of stage `number` as that of a separate run, which repeats it."""
        config = self.stages[self.number - 1]
        model = config.model
        if self.number > self.first:
            model = replace(model, weights=str(self.folder / model.weights))
        logging = replace(config.logging, folder=str(self.folder), name=stage_folder(self.number))
        training = replace(config.training, first_stage=1, resume="")
        checkpoint = config.checkpoint
        if checkpoint.copy_to:
            # A stage's own folder is in the run's there as well.
            url = f"{checkpoint.copy_to.rstrip('/')}/{self.folder.name}"
            checkpoint = replace(checkpoint, copy_to=url)
        return replace(config, model=model, logging=logging, training=training, checkpoint=checkpoint)


def plan_stages(stages: Sequence[TrainConfig], recipe: str) -> StagedRun:
    """What there is to do for these stages: all, or what is left of the run that training.resume names.

    Raises UserError for data that can't be used, a name that is taken, another recipe than that run's, and where all is
    done.
    """
    if stages[0].training.resume:
        return _continued(stages)
    first = stages[0].training.first_stage
    known = [
        stage if number < first else _with_classes(stage, number)
        for number, stage in enumerate(stages, start=1)
    ]
    folder = new_folder(stages[0], recipe, free=True)
    refuse_taken(folder)
    return StagedRun(folder=folder, stages=known, number=first)


def _with_classes(config: TrainConfig, number: int) -> TrainConfig:
    """Stage `number` with the classes of its data. Raises UserError for data that can't be used."""
    with naming_stage(number):
        places = (config.data.train_dataset, config.data.val_dataset)
        classes = agree_on_classes(*(open_data(place, config.data) for place in places))
        refuse_other_classes(classes, config.data.classes)
    return with_known_classes(config, classes)


def _continued(stages: Sequence[TrainConfig]) -> StagedRun:
    """What is left of the run that training.resume names. Raises UserError for another recipe's, or a finished one."""
    folder = Path(stages[0].training.resume)
    before = read_recipe(folder)
    first = before[0].training.first_stage
    refuse_other_stages(stages, before)
    # Where each stage starts from, and which is the first, was said when the run was begun.
    longer = stages[-1].training.epochs - before[-1].training.epochs
    stages = [
        replace(
            stage,
            model=replace(
                stage.model,
                weights=old.model.weights,
                use_ema=old.model.use_ema,
                reset_head=old.model.reset_head,
                weights_key=old.model.weights_key,
            ),
            training=replace(stage.training, first_stage=first, resume=""),
            data=replace(stage.data, classes=old.data.classes),
        )
        for stage, old in zip(stages, before, strict=True)
    ]
    elapsed = began = setup = 0.0
    seen: dict[str, str] = {}
    for number in range(first, len(stages) + 1):
        log = folder / stage_folder(number) / LOG
        lines = read_log(log)[0] if log.is_file() else []
        history = build_history(lines)
        if number == first and lines:
            setup = history.start.setup_seconds or 0.0
            began = _start_of(lines) - setup
        if history.result is None or (number == len(stages) and longer > 0):
            saved = bool(checkpoints_of(folder / stage_folder(number)))
            return StagedRun(
                folder=folder,
                stages=stages,
                number=number,
                elapsed=elapsed,
                begun=log.is_file(),
                saved=saved,
                longer=longer != 0,
                began=began,
                setup=setup,
                seen=seen,
            )
        elapsed = history.result.elapsed_seconds or 0.0
        seen |= _files_read(stages[number - 1], history.start)
    raise UserError(f"training.resume: all {len(stages)} stages of the run are done; nothing is left to do")


def _files_read(config: TrainConfig, start: StartLine) -> dict[str, str]:
    """The identity of each data file of a finished stage, by its path now; logs of older runs lack some."""
    data = {"train": start.train_data or "", "val": start.val_data or ""}
    return {path: identity for path, identity in resume.files_of(config, data).items() if identity}


def _start_of(lines: Sequence[LogLine]) -> float:
    """When the first line of a log was written, as time.time gives it."""
    return datetime.fromisoformat(lines[0].time).timestamp() if lines and lines[0].time else time.time()


def write_recipe(staged: StagedRun) -> None:
    """Write stages.yaml, here and where the checkpoints are copied to. Raises UserError where that can't be written."""
    folders = ", ".join(stage_folder(number + 1) for number in range(staged.first - 1, len(staged.stages)))
    head = (
        f"# The recipe of this run of several stages, which are in {folders}; -C with this file repeats it.\n"
        f"# To continue after an interruption: the same command as before, with --training.resume={staged.folder}\n"
    )
    # It repeats the run under another name.
    stages = [replace(stage, logging=replace(stage.logging, name="")) for stage in staged.stages]
    recipe = as_recipe([to_dict(stage) for stage in stages])
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    with atomic_write(staged.folder / STAGES) as file:
        file.write((head + text).encode())
    _send_recipe(staged)


def _send_recipe(staged: StagedRun) -> None:
    """Copy it to where the stages' checkpoints will be."""
    checkpoint = staged.stages[0].checkpoint
    if checkpoint.copy_to:
        url = f"{checkpoint.copy_to.rstrip('/')}/{staged.folder.name}"
        copy = RemoteCopy(url, checkpoint.storage(), staged.folder)
        copy.send([staged.folder / STAGES], checkpoint.keep)
        copy.wait()
