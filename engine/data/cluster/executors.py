"""The interface of executors, which run attempts at shards: one file for each value of run.on."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol

from engine.config.executor import DASK, SLURM
from engine.config.write import WriteConfig
from engine.data.cluster.attempt import Attempt


class Executor(Protocol):
    """Runs attempts at shards. Use as a context manager; the block's end ends what runs on this machine."""

    slots: int
    """Shards converted at the same time, as far as that is known."""
    pause: float
    """Seconds between two calls of `poll`."""

    def __enter__(self) -> "Executor": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Let these run as soon as there is room. Returns at once."""
        ...

    def poll(self) -> Iterable[tuple[str, str]]:
        """(shard, why) of attempts that have ended since the last call, finished or not.

        `why` is empty where the shard's folder says it. Raises UserError where no attempt can run any more.
        """
        ...


def open_executor(config: WriteConfig) -> Executor:
    """The executor that `run.on` names, not yet entered. Raises UserError where its package is missing."""
    run = config.run
    # Each needs a package of its own.
    if run.on == DASK:
        from engine.data.cluster.dask import DaskExecutor

        return DaskExecutor(config)
    if run.on == SLURM:
        from engine.data.cluster.slurm import SlurmExecutor

        return SlurmExecutor(config)
    from engine.data.cluster.local import LocalExecutor

    return LocalExecutor(config)
