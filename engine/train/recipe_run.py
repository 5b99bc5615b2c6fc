"""A recipe from its checked configurations to its verdict: one run, or several stages that hand on their weights.

A run of several stages has a folder with one folder for each stage in it, which is as any run's, and `stages.yaml`: the
whole recipe as it was started, so that -C repeats it. How far it is stands in the stages' own logs: a stage is
finished when its log ends with a result.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from engine.config.load import load_train_stages, to_dict
from engine.config.stages import as_recipe, stage_folder
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.files import atomic_write
from engine.runs.log_file import LOG_NAME, refuse_taken
from engine.runs.log_reader import build_history, read_log
from engine.runs.run_writer import STAGES_NAME, RunRecord, new_folder
from engine.train.checkpoints import resume, store
from engine.train.checkpoints.interruption import Interruption
from engine.train.checkpoints.remote_copy import RemoteCopy
from engine.train.evaluation.evaluation_run import EvaluationRun
from engine.train.outlook import Ahead
from engine.train.ranks.group import Ranks
from engine.train.recipe_start import Stage, find_start, foresee
from engine.train.replay_run import CeilingRun
from engine.train.run import Run


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is to be done of a run of several stages: those from `number` (counted from 1) on.

    The clock of that one starts at `elapsed` seconds. `begun`: it has a log already; `saved`: a checkpoint to go on
    from as well.
    """

    folder: Path
    stages: Sequence[TrainConfig]
    number: int
    elapsed: float = 0.0
    begun: bool = False
    saved: bool = False

    @property
    def first(self) -> int:
        """The stage that the run began with."""
        return self.stages[0].training.first_stage

    def config(self) -> TrainConfig:
        """The stage's configuration as that of a run of its own, which repeats it."""
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


def run_recipe(
    stages: Sequence[TrainConfig], recipe: str, ranks: Ranks, interruption: Interruption | None = None
) -> int:
    """Run the stages that load_train_stages gave; returns the exit code that the last one's verdict asks for.

    Raises UserError; before the first stage begins if a later one has data or batches that don't fit. Raises
    Interrupted when `interruption` was asked to end.
    """
    interruption = interruption or Interruption()
    # The first rank's word counts: others may see a file system that lags behind.
    start = ranks.agree(find_start(stages) if ranks.main else None)
    assert start is not None
    if start.code is not None:
        return start.code
    again = "run the same command to resume" if stages[0].training.resume == resume.AUTO else ""
    stages = start.stages
    if len(stages) == 1:
        return _run_alone(stages[0], recipe, ranks, interruption, begun=start.begun, again=again)
    course = ranks.agree(_course(stages, recipe) if ranks.main else None)
    assert course is not None
    interruption.again = again or _resuming(course.folder)
    ahead: dict[int, list[Ahead]] = {}
    for number, stage in enumerate(course.stages, start=1):
        if number > course.number:
            with _told_of_stage(number):
                ahead[number] = foresee(stage, ranks)
    code = 0
    while course.number <= len(course.stages):
        with _told_of_stage(course.number):
            later = [epoch for number in ahead if number > course.number for epoch in ahead[number]]
            code, elapsed = _run_stage(course, recipe, ranks, interruption, later)
        course = replace(course, number=course.number + 1, elapsed=elapsed, begun=False, saved=False)
        # The next stage needs the device's memory, and a run's parts hold each other.
        gc.collect()
        if ranks.device.type == "cuda":
            torch.cuda.empty_cache()
    return code


def _run_alone(
    config: TrainConfig, recipe: str, ranks: Ranks, interruption: Interruption, *, begun: bool, again: str
) -> int:
    resumed = config.training.resume
    if resumed and (Path(resumed) / STAGES_NAME).is_file():
        raise UserError(
            f"training.resume: {resumed} is a run of several stages: pass its recipe, the one with `then:`"
        )
    with (
        open_run(config, ranks, interruption) as run,
        RunRecord.open(config, recipe, writes=ranks.main, begun=begun) as record,
    ):
        interruption.again = again or _resuming(record.folder)
        return run.execute(record)


def _resuming(folder: Path) -> str:
    return f"resume it with --training.resume={folder}"


def open_run(
    config: TrainConfig, ranks: Ranks, interruption: Interruption | None = None
) -> Run | EvaluationRun:
    """The run of one stage, with nothing done yet. Raises UserError for data or weights that can't be used."""
    if config.training.eval_only:
        return EvaluationRun(config, ranks)
    kind = CeilingRun if config.data.replay else Run
    return kind(config, ranks, interruption=interruption)


def _run_stage(
    course: Course, recipe: str, ranks: Ranks, interruption: Interruption, later: Sequence[Ahead]
) -> tuple[int, float]:
    """Run the course's next stage; returns its exit code, and the seconds of all stages up to its end."""
    config = course.config()
    stage = Stage(number=course.number, of=len(course.stages), earlier_seconds=course.elapsed, later=later)
    if ranks.main:
        epochs = config.training.epochs
        start = f"from {config.model.weights or 'scratch'}"
        print(f"{stage.label}: {epochs} epoch{'s' if epochs > 1 else ''} {start}", flush=True)
    taken_up = config
    if course.saved:
        model = replace(config.model, weights="", use_ema=False, reset_head=False)
        training = replace(config.training, resume=str(course.folder / stage_folder(course.number)))
        taken_up = replace(config, model=model, training=training)
    with (
        Run(taken_up, ranks, stage, interruption) as run,
        RunRecord.open(config, recipe, writes=ranks.main, begun=course.begun) as record,
    ):
        if ranks.main and course.number == course.first and not course.begun:
            _write_recipe(course)
            _send_recipe(course)
        return run.execute(record), run.elapsed


def _course(stages: Sequence[TrainConfig], recipe: str) -> Course:
    if stages[0].training.resume:
        return _continued(stages)
    folder = new_folder(stages[0], recipe, free=True)
    refuse_taken(folder)
    return Course(folder=folder, stages=stages, number=stages[0].training.first_stage)


def _continued(stages: Sequence[TrainConfig]) -> Course:
    """What is left of the run that training.resume names. Raises UserError for another recipe's, or a finished one."""
    folder = Path(stages[0].training.resume)
    before = _read_recipe(folder)
    first = before[0].training.first_stage
    _refuse_other_stages(stages, before)
    # Where each stage starts from, and which is the first, was said when the run was begun.
    stages = [
        replace(
            stage,
            model=replace(
                stage.model,
                weights=old.model.weights,
                use_ema=old.model.use_ema,
                reset_head=old.model.reset_head,
            ),
            training=replace(stage.training, first_stage=first, resume=""),
        )
        for stage, old in zip(stages, before, strict=True)
    ]
    elapsed = 0.0
    for number in range(first, len(stages) + 1):
        log = folder / stage_folder(number) / LOG_NAME
        result = build_history(read_log(log)[0]).result if log.is_file() else None
        if result is None:
            saved = bool(store.newest(folder / stage_folder(number)))
            return Course(
                folder=folder, stages=stages, number=number, elapsed=elapsed, begun=log.is_file(), saved=saved
            )
        elapsed = float(result["elapsed_seconds"])
    raise UserError(f"training.resume: all {len(stages)} stages of that run are done; nothing is left to do")


def _refuse_other_stages(stages: Sequence[TrainConfig], before: Sequence[TrainConfig]) -> None:
    """Raises UserError where the stages are not those that the run was started with."""
    if len(stages) != len(before):
        raise UserError(f"training.resume: that run was started with {len(before)} stages, not {len(stages)}")
    now, first = stages[0].training.first_stage, before[0].training.first_stage
    if now not in (1, first):
        raise UserError(f"training.resume: that run was started with training.first_stage={first}, not {now}")
    for number, (stage, old) in enumerate(zip(stages, before, strict=True), start=1):
        with _told_of_stage(number):
            resume.refuse_other_recipe(stage, to_dict(old))
            if number > first and stage.model.weights != old.model.weights:
                raise UserError(
                    f"training.resume: that run was started to go on from {old.model.weights}, not "
                    f"{stage.model.weights}: change model.use_ema back"
                )


def _write_recipe(course: Course) -> None:
    folders = ", ".join(stage_folder(number + 1) for number in range(course.first - 1, len(course.stages)))
    head = (
        f"# The recipe of this run of several stages, which are in {folders}; -C with this file repeats it.\n"
        f"# To go on after an interruption: the same command as before, with --training.resume={course.folder}\n"
    )
    # It repeats the run under another name.
    stages = [replace(stage, logging=replace(stage.logging, name="")) for stage in course.stages]
    recipe = as_recipe([to_dict(stage) for stage in stages])
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    with atomic_write(course.folder / STAGES_NAME) as file:
        file.write((head + text).encode())


def _send_recipe(course: Course) -> None:
    """Copy it to where the stages' checkpoints will be."""
    checkpoint = course.stages[0].checkpoint
    if checkpoint.copy_to:
        url = f"{checkpoint.copy_to.rstrip('/')}/{course.folder.name}"
        copy = RemoteCopy(url, checkpoint.storage(), course.folder)
        copy.send([course.folder / STAGES_NAME], checkpoint.keep)
        copy.wait()


def _read_recipe(folder: Path) -> list[TrainConfig]:
    path = folder / STAGES_NAME
    if not path.is_file():
        part = (folder.parent / STAGES_NAME).is_file()
        advice = f"pass {folder.parent}, the run that it is a stage of" if part else "check the path"
        raise UserError(
            f"training.resume: {folder} is not a run of several stages (it holds no {STAGES_NAME}): {advice}"
        )
    return load_train_stages(["-C", str(path)])[0]


@contextmanager
def _told_of_stage(number: int) -> Iterator[None]:
    """A UserError of the block says which stage it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"in stage {number}: {error}") from None
