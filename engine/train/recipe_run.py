"""A recipe from its checked configurations to its verdict: one run, or several stages that hand on their weights.

The folder of a run of several stages holds one run folder for each stage, and `stages.yaml`: the whole recipe as it was
started, so that -C repeats it. The stages' logs say how far it is: a stage is finished when its log ends with a result.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch
import yaml

from engine.config.load import to_dict
from engine.config.stages import as_recipe
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.files import atomic_write
from engine.runs.display import Display
from engine.runs.folder import LOG, STAGES, checkpoints_of, stage_folder
from engine.runs.log_file import refuse_taken
from engine.runs.log_reader import build_history, read_log
from engine.runs.log_schema import LogLine
from engine.runs.run_writer import RunWriter, new_folder
from engine.runs.time_left import Ahead
from engine.train.checkpoints import resume
from engine.train.checkpoints.interruption import Interruption
from engine.train.checkpoints.remote_copy import RemoteCopy
from engine.train.evaluation.evaluation_run import EvaluationRun
from engine.train.ranks.group import Ranks
from engine.train.recipe_start import (
    Stage,
    check_stage,
    find_start,
    naming_stage,
    read_recipe,
    refuse_other_stages,
)
from engine.train.replay_run import ReplayRun
from engine.train.run import Run


@dataclass(frozen=True, kw_only=True)
class StagedRun:
    """A run of several stages of which those from `number` (counted from 1) on are left to do.

    The clock of that one starts at `elapsed` seconds. `begun`: it has a log already; `saved`: a checkpoint too;
    `longer`: the last stage has another length than when the run was begun. The first one was started at `began`
    (time.time, 0: not known), and had its first step `setup` seconds later.
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


def run_recipe(
    stages: Sequence[TrainConfig],
    recipe: str,
    ranks: Ranks,
    display: Display,
    interruption: Interruption | None = None,
    started: float | None = None,
) -> int:
    """Run the stages that load_train_stages gave; returns the exit code that the last one's verdict asks for.

    `display` draws them on the terminal and as report.html. `started` is when the process was started
    (time.perf_counter): set-up counts against the time limit.

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
        return _run_alone(
            stages[0], recipe, ranks, display, interruption, begun=start.begun, again=again, started=started
        )
    staged = ranks.agree(_plan_stages(stages, recipe) if ranks.main else None)
    assert staged is not None
    interruption.again = again or _resuming(staged.folder)
    ahead: dict[int, list[Ahead]] = {}
    for number, stage in enumerate(staged.stages, start=1):
        if number > staged.number:
            with naming_stage(number):
                ahead[number] = check_stage(stage, ranks)
    code, seen = 0, dict[str, str]()
    while staged.number <= len(staged.stages):
        with naming_stage(staged.number):
            later = [epoch for number in ahead if number > staged.number for epoch in ahead[number]]
            code, run = _run_stage(staged, recipe, ranks, display, interruption, later, started, seen)
        clock = run.contract.clock
        # What comes between two stages counts too.
        started = time.perf_counter() - (clock.elapsed() - run.elapsed)
        staged = replace(
            staged,
            number=staged.number + 1,
            elapsed=run.elapsed,
            begun=False,
            saved=False,
            began=clock.began,
            setup=clock.setup,
        )
        # The next stage needs the device's memory, and a run's parts hold each other.
        del run
        gc.collect()
        if ranks.device.type == "cuda":
            torch.cuda.empty_cache()
    return code


def _run_alone(
    config: TrainConfig,
    recipe: str,
    ranks: Ranks,
    display: Display,
    interruption: Interruption,
    *,
    begun: bool,
    again: str,
    started: float | None,
) -> int:
    resumed = config.training.resume
    if resumed and (Path(resumed) / STAGES).is_file():
        raise UserError(
            f"training.resume: {resumed} is a run of several stages: pass its recipe, the one with `then:`"
        )
    with (
        open_run(config, ranks, interruption, started) as run,
        RunWriter.open(config, recipe, writes=ranks.main, display=display, begun=begun) as record,
    ):
        interruption.again = again or _resuming(record.folder)
        return run.execute(record)


def _resuming(folder: Path) -> str:
    return f"resume it with --training.resume={folder}"


def open_run(
    config: TrainConfig,
    ranks: Ranks,
    interruption: Interruption | None = None,
    started: float | None = None,
) -> Run | EvaluationRun:
    """The run of one stage, with nothing done yet. Raises UserError for data or weights that can't be used."""
    if config.training.eval_only:
        return EvaluationRun(config, ranks)
    kind = ReplayRun if config.data.replay else Run
    return kind(config, ranks, interruption=interruption, started=started)


def _run_stage(
    staged: StagedRun,
    recipe: str,
    ranks: Ranks,
    display: Display,
    interruption: Interruption,
    later: Sequence[Ahead],
    started: float | None,
    seen: dict[str, str],
) -> tuple[int, Run]:
    """Run the next stage; returns its exit code, and the finished run. `seen`: see resume.refuse_changed_files."""
    config = staged.config()
    stage = Stage(
        number=staged.number,
        of=len(staged.stages),
        earlier_seconds=staged.elapsed,
        later=later,
        began=staged.began,
        setup_seconds=staged.setup,
    )
    if ranks.main:
        epochs = config.training.epochs
        start = f"from {config.model.weights or 'scratch'}"
        print(f"{stage.label}: {epochs} epoch{'s' if epochs > 1 else ''} {start}", flush=True)
    taken_up = config
    if staged.saved:
        model = replace(config.model, weights="", weights_key="", use_ema=False, reset_head=False)
        training = replace(config.training, resume=str(staged.folder / stage_folder(staged.number)))
        taken_up = replace(config, model=model, training=training)
    with (
        Run(taken_up, ranks, stage, interruption, started) as run,
        RunWriter.open(config, recipe, writes=ranks.main, display=display, begun=staged.begun) as record,
    ):
        resume.refuse_changed_files(seen, config, run.data)
        if ranks.main and staged.number == staged.first and not staged.begun:
            _write_recipe(staged)
        code = run.execute(record)
        if ranks.main and staged.longer:
            _write_recipe(staged)
        return code, run


def _plan_stages(stages: Sequence[TrainConfig], recipe: str) -> StagedRun:
    if stages[0].training.resume:
        return _continued(stages)
    folder = new_folder(stages[0], recipe, free=True)
    refuse_taken(folder)
    return StagedRun(folder=folder, stages=stages, number=stages[0].training.first_stage)


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
        )
        for stage, old in zip(stages, before, strict=True)
    ]
    elapsed = began = setup = 0.0
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
            )
        elapsed = history.result.elapsed_seconds or 0.0
    raise UserError(f"training.resume: all {len(stages)} stages of the run are done; nothing is left to do")


def _start_of(lines: Sequence[LogLine]) -> float:
    """When the first line of a log was written, as time.time gives it."""
    return datetime.fromisoformat(lines[0].time).timestamp() if lines and lines[0].time else time.time()


def _write_recipe(staged: StagedRun) -> None:
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
