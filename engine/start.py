"""Where a recipe begins: anew, or with what a run of its name has left, here or at its copy (training.resume=auto)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config.schema import TrainConfig
from engine.config.stages import stage_folder
from engine.report.history import Line, build_history, read_log
from engine.report.record import STAGES_NAME
from engine.report.run_log import LOG_NAME
from engine.train import kept
from engine.train.remote_copy import RemoteCopy
from engine.train.resume import AUTO


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
    several = (folder / STAGES_NAME).is_file()
    last = folder / stage_folder(len(stages)) if several else folder
    if (result := _result(last)) is not None:
        print(f"{folder} is finished, nothing is left to do: {result.get('verdict')}", flush=True)
        return Start(stages=stages, code=1 if result.get("met") is False else 0)
    if several or kept.newest(folder):
        # Later stages start from the weights of the one before, as ever; the first says for all where to go on.
        return Start(stages=[_resuming(stages[0], folder), *stages[1:]])
    return Start(stages=[_resuming(stages[0], None), *stages[1:]], begun=_has_log(folder))


def _resuming(config: TrainConfig, folder: Path | None) -> TrainConfig:
    """`config` going on with the run in `folder`, whose checkpoint has the weights; None: beginning."""
    training = replace(config.training, resume=str(folder or ""))
    if folder is None:
        return replace(config, training=training)
    model = replace(config.model, weights="", use_ema=False, reset_head=False)
    return replace(config, training=training, model=model)


def _fetch(config: TrainConfig, folder: Path) -> None:
    """Bring the copy here where there is one, and here is nothing."""
    url = config.checkpoint.copy_to
    if url and not _has_log(folder) and not (folder / STAGES_NAME).is_file():
        copy = RemoteCopy(f"{url.rstrip('/')}/{folder.name}", config.checkpoint.storage(), folder)
        copy.fetch()


def _has_log(folder: Path) -> bool:
    """Whether a run was begun there; an empty log is left by one that failed before it began."""
    log = folder / LOG_NAME
    return log.is_file() and log.stat().st_size > 0


def _result(folder: Path) -> Line | None:
    return build_history(read_log(folder / LOG_NAME)[0]).result if _has_log(folder) else None
