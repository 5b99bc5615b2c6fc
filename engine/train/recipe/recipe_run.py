"""A recipe from its checked configurations to its verdict: one run, or several stages that hand on their weights.

The folder of a run of several stages holds one run folder for each stage, and `stages.yaml`: the whole recipe as it was
started, so that -C repeats it. The stages' logs say how far it is: a stage is finished when its log ends with a result.
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.config.train.train_config import TrainConfig
from engine.devices import release_memory
from engine.errors import UserError
from engine.runs.display import Display
from engine.runs.folder import STAGES, stage_folder
from engine.runs.run_writer import RunWriter
from engine.runs.time_left import Ahead
from engine.train.checkpoints import resume
from engine.train.checkpoints.interruption import Interruption
from engine.train.evaluation.evaluation_run import EvaluationRun
from engine.train.ranks.group import Ranks
from engine.train.recipe.recipe_start import (
    Stage,
    check_stage,
    find_start,
    naming_stage,
)
from engine.train.recipe.staged_run import StagedRun, plan_stages, write_recipe
from engine.train.replay_run import ReplayRun
from engine.train.run import Run


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
    staged = ranks.agree(plan_stages(stages, recipe) if ranks.main else None)
    assert staged is not None
    interruption.again = again or _resuming(staged.folder)
    ahead: dict[int, list[Ahead]] = {}
    for number, stage in enumerate(staged.stages, start=1):
        if number > staged.number:
            with naming_stage(number):
                ahead[number] = check_stage(stage, ranks)
    code, seen = 0, dict(staged.seen)
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
        release_memory(ranks.device)
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
        RunWriter.open(run.repeatable, recipe, writes=ranks.main, display=display, begun=begun) as record,
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
            write_recipe(staged)
        code = run.execute(record)
        if ranks.main and staged.longer:
            write_recipe(staged)
        return code, run
