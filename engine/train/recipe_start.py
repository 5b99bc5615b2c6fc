"""Where a recipe starts: anew, or from what a run of its name has left, here or at its copy (training.resume=auto).

Also which stage of a recipe a run is, and a check of what later stages need before the first one begins: a typing
error should not wait for that one's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.config.train.train_config import TrainConfig
from engine.data.beton.pair import agree_on_classes
from engine.data.beton.reader import open_beton
from engine.data.sampling.order import held_out
from engine.runs.folder import LOG, STAGES, checkpoints_of, stage_folder
from engine.runs.log_reader import build_history, read_log
from engine.runs.log_schema import ResultLine
from engine.runs.time_left import Ahead
from engine.train.batching import epochs_ahead, plans_by_resolution
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
    """What `stages` start from. Raises UserError for a copy that can't be fetched."""
    if stages[0].training.resume != AUTO:
        return Start(stages=stages)
    folder = Path(stages[0].logging.folder) / stages[0].logging.name
    _fetch(stages[0], folder)
    several = (folder / STAGES).is_file()
    last = folder / stage_folder(len(stages)) if several else folder
    if (result := _result(last)) is not None:
        print(f"{folder} is finished, nothing is left to do: {result.verdict}", flush=True)
        return Start(stages=stages, code=1 if result.met is False else 0)
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
    train, val = (open_beton(Path(path)) for path in (config.data.train_dataset, config.data.val_dataset))
    classes = agree_on_classes(train, val)
    held = held_out(train.num_samples, config.data.holdout, config.training.seed)
    num_train = train.num_samples - len(held)
    plans = plans_by_resolution(config, ranks.world, num_train)
    choose_precision(config.training.precision, ranks.device)
    bare_network(config, classes.count)
    return epochs_ahead(config, plans, num_train)
