"""run.on=dask: shards on the workers of a Dask cluster, one at a time on each worker, with as many encoding processes
as it has threads.

Dask itself gives the shard of a lost worker to another one; a shard that it gives up is handed in again by the caller.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

from engine.config.write import WriteConfig
from engine.data.cluster.attempt import Attempt, run_shard
from engine.errors import UserError
from engine.limits import usable_cores

try:
    import dask
    from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin, get_worker
except ImportError:
    raise UserError(
        "run.on=dask needs distributed, which is not installed: pip install distributed"
    ) from None

_SLOT = "imagenet-engine-shard"
_CORES_PER_WORKER = 4
_ANSWER_SECONDS = 20
_GONE = "start the same command again when it is back"


class _OneShard(WorkerPlugin):
    """Room for one shard on each worker, also on those that join later."""

    name = _SLOT
    idempotent = True

    async def setup(self, worker: Worker) -> None:
        """Called on the worker."""
        await worker.set_resources(**{_SLOT: 1})


class DaskExecutor:
    """A client of the scheduler at run.scheduler, or of a cluster of processes on this machine."""

    pause = 0.5

    def __init__(self, config: WriteConfig) -> None:
        self._run, self._encoders = config.run, config.output.num_workers
        self._futures: dict[str, Future] = {}
        self._started = 0

    def __enter__(self) -> "DaskExecutor":
        with ExitStack() as stack:
            self._client = stack.enter_context(self._connect(stack))
            try:
                self._client.register_plugin(_OneShard())
            except ModuleNotFoundError as error:
                raise UserError(
                    f"run.scheduler: a Dask worker can't run this program ({error}): start the workers in its "
                    "environment, with its folder in PYTHONPATH"
                ) from None
            self._stack = stack.pop_all()
        workers = len(self._client.nthreads())
        if not workers:
            print("note: the Dask scheduler has no workers yet: waiting for them", flush=True)
        self.slots = max(1, workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(self, stack: ExitStack) -> Client:
        if not self._run.scheduler:
            workers = self._run.workers or max(1, usable_cores() // _CORES_PER_WORKER)
            self._encoders = self._encoders or max(1, usable_cores() // workers)
            # Its lines about workers that are lost and restarted are no news to the user.
            stack.enter_context(dask.config.set({"distributed.logging.distributed": "critical"}))
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
            return Client(stack.enter_context(cluster))
        try:
            return Client(self._run.scheduler, timeout=_ANSWER_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise UserError(
                f"run.scheduler: no Dask scheduler answers at {self._run.scheduler}: {error}: check the address, such "
                "as tcp://HOST:8786"
            ) from None

    def start(self, attempts: Sequence[Attempt]) -> None:
        """See Executor."""
        for attempt in attempts:
            self._started += 1
            attempt = replace(attempt, workers=self._encoders)
            key = f"shard {attempt.shard} ({self._started})"
            self._futures[attempt.shard] = self._client.submit(
                _run_on_worker, attempt, key=key, pure=False, resources={_SLOT: 1}
            )

    def poll(self) -> Iterable[tuple[str, str]]:
        """See Executor."""
        for shard, future in list(self._futures.items()):
            if not future.done():
                continue
            if future.status not in ("finished", "error"):
                raise UserError(f"run.scheduler: the Dask scheduler is gone: {_GONE}")
            del self._futures[shard]
            yield shard, _why(future)


def _why(future: Any) -> str:
    if future.status == "finished":
        return ""
    error = future.exception()
    if isinstance(error, KilledWorker):
        return "killed: Dask has lost several workers with this shard"
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _run_on_worker(attempt: Attempt) -> None:
    """Runs in a worker."""
    run_shard(replace(attempt, workers=attempt.workers or get_worker().state.nthreads))
