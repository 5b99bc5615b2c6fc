"""Where a recipe starts: anew, or from what a run of its name has left, here or at its copy (training.resume=auto).

Also which stage of a recipe a run is, and a check of what later stages need before the first one begins: a typing
error should not wait for that one's end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config.load import load_train_stages, to_dict
from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.remote.open_data import open_data
from engine.data.sampling.order import held_out
from engine.errors import UserError
from engine.runs.folder import CONFIG, LOG, STAGES, checkpoints_of, stage_folder
from engine.runs.log_reader import build_history, read_config, read_log
from engine.runs.log_schema import ResultLine
from engine.runs.time_left import Ahead
from engine.train.batching import epochs_ahead, plans_by_resolution
from engine.train.budget.verdict import judge
from engine.train.checkpoints import resume, store
from engine.train.checkpoints.remote_copy import RemoteCopy
from engine.train.checkpoints.resume import AUTO
from engine.train.ranks.group import Ranks
from engine.train.step.precision import choose_precision
from engine.train.weights import bare_network


@dataclass(frozen=True, kw_only=True)
class Start:
    """The stages with training.resume settled: a folder, or nothing.

    `begun`: the run has a log but nothing to go on from; `code`: it is finished, with this exit code.
    """

    stages: Sequence[TrainConfig]
    begun: bool = False
    code: int | None = None


def find_start(stages: Sequence[TrainConfig]) -> Start:
    """What `stages` start from.

    Raises UserError for a copy that can't be fetched, and where a finished run of that name is another one.
    """
    if stages[0].training.resume != AUTO:
        return Start(stages=stages)
    folder = Path(stages[0].logging.folder) / stages[0].logging.name
    _fetch(stages[0], folder)
    several = (folder / STAGES).is_file()
    last = folder / stage_folder(len(stages)) if several else folder
    if (result := _result(last)) is not None and not _goes_on(stages, folder, last):
        verdict, code = _outcome(stages[-1], result)
        print(f"{folder} is finished, nothing is left to do: {verdict}", flush=True)
        return Start(stages=stages, code=code)
    if several or checkpoints_of(folder):
        # Later stages start from the weights of the one before, as ever; the first says for all where to go on.
        return Start(stages=[_resuming(stages[0], folder), *stages[1:]])
    return Start(stages=[_resuming(stages[0], None), *stages[1:]], begun=_has_log(folder))


def _resuming(config: TrainConfig, folder: Path | None) -> TrainConfig:
    """`config` going on with the run in `folder`, whose checkpoint has the weights; None: beginning."""
    training = replace(config.training, resume=str(folder or ""))
    if folder is None:
        return replace(config, training=training)
    model = replace(config.model, weights="", weights_key="", use_ema=False, reset_head=False)
    return replace(config, training=training, model=model)


def _fetch(config: TrainConfig, folder: Path) -> None:
    """Bring the copy here where there is one, and here is nothing."""
    url = config.checkpoint.copy_to
    if url and not _has_log(folder) and not (folder / STAGES).is_file():
        copy = RemoteCopy(f"{url.rstrip('/')}/{folder.name}", config.checkpoint.storage(), folder)
        copy.fetch()


def _has_log(folder: Path) -> bool:
    """Whether a run was begun there; an empty log is left by one that failed before it began."""
    log = folder / LOG
    return log.is_file() and log.stat().st_size > 0


def _result(folder: Path) -> ResultLine | None:
    return build_history(read_log(folder / LOG)[0]).result if _has_log(folder) else None


def _goes_on(stages: Sequence[TrainConfig], folder: Path, last: Path) -> bool:
    """Whether the finished run in `folder` is to be trained for more epochs now.

    `last` is the folder of its last stage. Raises UserError where recipe or data are not those of that run.
    """
    several = (folder / STAGES).is_file()
    if several or len(stages) > 1:
        refuse_other_stages(stages, read_recipe(folder))
    first = stages[0].training.first_stage
    for number, stage in enumerate(stages, start=1):
        if number >= first:
            with naming_stage(number) if several else nullcontext():
                _refuse_other_run(stage, folder / stage_folder(number) if several else folder)
    before = read_config(last / CONFIG).get("training", {})
    return stages[-1].training.epochs > int(before.get("epochs", stages[-1].training.epochs))


def _refuse_other_run(config: TrainConfig, folder: Path) -> None:
    """Raises UserError where recipe or data are not those of the finished run in `folder`."""
    places = (config.data.train_dataset, config.data.val_dataset)
    train, val = (open_data(place, config.data) for place in places)
    if checkpoints_of(folder):
        found = store.load_newest(folder)[1]
        resume.refuse_other_run(config, found, resume.data_of(train, val))
    else:
        resume.refuse_other_recipe(config, read_config(folder / CONFIG))
        print(f"note: {folder} has no checkpoints left: its data are not compared", flush=True)


def _outcome(config: TrainConfig, result: ResultLine) -> tuple[str | None, int]:
    """The verdict on a finished run and its exit code: its own, unless another target or time limit is set now."""
    budget = config.budget
    target, seconds = budget.target_top1 or result.target_top1, budget.seconds or result.budget_seconds
    if (target, seconds) == (result.target_top1, result.budget_seconds):
        return result.verdict, 1 if result.met is False else 0
    budget = replace(budget, target_top1=target or 0.0, hours=0.0, minutes=(seconds or 0.0) / 60)
    average = result.ema_top1 is not None
    top1 = (result.ema_top1 if average else result.top1) or 0.0
    of = "of the averaged weights" if average else ""
    verdict = judge(budget, top1, result.elapsed_seconds or 0.0, of)
    return verdict.sentence, verdict.exit_code


def refuse_other_stages(stages: Sequence[TrainConfig], before: Sequence[TrainConfig]) -> None:
    """Raises UserError where the stages are not those that the run was started with.

    The length of the last one may be another one: its own checkpoint says whether it can.
    """
    if len(stages) != len(before):
        raise UserError(f"training.resume: the run was started with {len(before)} stages, not {len(stages)}")
    now, first = stages[0].training.first_stage, before[0].training.first_stage
    if now not in (1, first):
        raise UserError(f"training.resume: the run was started with training.first_stage={first}, not {now}")
    for number, (stage, old) in enumerate(zip(stages, before, strict=True), start=1):
        with naming_stage(number):
            resume.refuse_other_recipe(stage, to_dict(old), 0 if number == len(stages) else None)
            if number > first and stage.model.weights != old.model.weights:
                raise UserError(
                    f"training.resume: the run was started to continue from {old.model.weights}, not "
                    f"{stage.model.weights}: change model.use_ema back"
                )


def read_recipe(folder: Path) -> list[TrainConfig]:
    path = folder / STAGES
    if not path.is_file():
        part = (folder.parent / STAGES).is_file()
        advice = f"pass {folder.parent}, the run that it is a stage of" if part else "check the path"
        raise UserError(
            f"training.resume: {folder} is not a run of several stages (it holds no {STAGES}): {advice}"
        )
    return load_train_stages(["-C", str(path)])[0]


@contextmanager
def naming_stage(number: int) -> Iterator[None]:
    """A UserError raised in the block names the stage."""
    try:
        yield
    except UserError as error:
        raise UserError(f"in stage {number}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Stage `number` (from 1) of `of`; the clock starts at the seconds that the stages before it took.

    `later` are the epochs of the stages after it, with which it shares a time limit that is kept to (budget.adapt).
    `began` is when the first stage was started (time.time, 0: not known), and `setup_seconds` its set-up.
    """

    number: int = 1
    of: int = 1
    earlier_seconds: float = 0.0
    later: Sequence[Ahead] = ()
    began: float = 0.0
    setup_seconds: float = 0.0

    @property
    def label(self) -> str:
        """As in "stage 2 of 3"; empty where there is but one."""
        return f"stage {self.number} of {self.of}" if self.of > 1 else ""

    def number_entry(self) -> dict[str, Any]:
        """The stage's number as a field of a log line; none where there is only one."""
        return {} if self.of == 1 else {"stage": self.number}

    def entry(self) -> dict[str, Any]:
        """The stage's fields of each log line; none where there is only one."""
        if self.of == 1:
            return {}
        return {"stage": self.number, "stages": self.of, "earlier_seconds": self.earlier_seconds}


def check_stage(config: TrainConfig, ranks: Ranks) -> list[Ahead]:
    """The stage's epochs. Raises UserError for data, image sides or batches with which it could not begin.

    Its weights need not be there yet: the stage before makes them.
    """
    places = (config.data.train_dataset, config.data.val_dataset)
    train, val = (open_data(place, config.data, shows=ranks.main) for place in places)
    classes = agree_on_classes(train, val)
    held = held_out(train.num_samples, config.data.holdout, config.training.seed)
    num_train = train.num_samples - len(held)
    plans = plans_by_resolution(config, ranks.world, num_train)
    choose_precision(config.training.precision, ranks.device)
    bare_network(config, classes.count)
    return epochs_ahead(config, plans, num_train)
