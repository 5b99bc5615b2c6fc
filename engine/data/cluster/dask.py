"""run.on=dask: shards on the workers of a Dask cluster, one at a time on each, with as many encoding processes as the
worker has threads.

Which worker gets which shard is decided here: Dask would give as many shards to a worker as it has threads. A worker
that joins later gets shards too, and the shard of one that is lost goes to another.
"""

import importlib.util
import logging
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from engine.config.write import WriteConfig
from engine.data.cluster.attempt import Attempt
from engine.data.convert.workers import default_workers
from engine.errors import UserError
from engine.limits import usable_cores

if TYPE_CHECKING:
    from distributed import Client, Future

_CORES_PER_WORKER = 4
_ANSWER_SECONDS = 20


class DaskExecutor:
    """A client of the scheduler at run.scheduler, or of a small cluster in this process."""

    pause = 0.5

    def __init__(self, config: WriteConfig) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise UserError("run.on=dask needs distributed, which is not installed: pip install distributed")
        self._run, self._encoders = config.run, config.output.num_workers
        self._waiting: deque[Attempt] = deque()
        self._busy: dict[str, tuple[str, Future]] = {}
        """Worker's address -> its shard."""
        self._started, self._had_workers = 0, True

    def __enter__(self) -> "DaskExecutor":
        with ExitStack() as stack:
            self._client = stack.enter_context(self._connect(stack))
            self._stack = stack.pop_all()
        while not (workers := self._workers()):
            # Their number decides how many shards there are.
            time.sleep(self.pause)
        self.slots = len(workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(self, stack: ExitStack) -> "Client":
        from distributed import Client, LocalCluster

        if not self._run.scheduler:
            workers = self._run.workers or max(1, usable_cores() // _CORES_PER_WORKER)
            self._encoders = self._encoders or default_workers(workers)
            # Threads of this process: each shard has a process of its own.
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
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
        self._waiting.extend(attempts)

    def poll(self) -> Iterable[tuple[str, str]]:
        """See Executor."""
        workers = self._workers()
        for address, (shard, future) in list(self._busy.items()):
            if future.done():
                del self._busy[address]
                yield shard, _why(future)
            elif address not in workers:
                future.cancel(force=True)
                del self._busy[address]
                yield shard, "killed: its Dask worker is gone"
        for address in workers.keys() - self._busy.keys():
            if self._waiting:
                self._give(address, workers[address])

    def _give(self, address: str, threads: int) -> None:
        """Let the worker convert the next shard."""
        attempt = replace(self._waiting.popleft(), workers=self._encoders or threads)
        self._started += 1
        # Each attempt has a key of its own: Dask takes equal keys for the same work.
        key = f"shard-{attempt.shard}-{self._started}-{self._client.id}"
        future = self._client.submit(
            _by_value(), pickle.dumps(attempt), key=key, workers=[address], pure=False
        )
        self._busy[address] = attempt.shard, future

    def _workers(self) -> dict[str, int]:
        """Address -> threads."""
        try:
            workers: dict[str, int] = self._client.nthreads()
        except (OSError, TimeoutError, RuntimeError) as error:
            raise UserError(
                f"run.scheduler: the Dask scheduler is gone ({error}): start the same command again when it is back"
            ) from None
        if not workers and self._had_workers:
            print("note: the Dask scheduler has no workers: waiting for them", flush=True)
        self._had_workers = bool(workers)
        return workers


def _by_value() -> Callable[[bytes], None]:
    """What a worker runs: a function in a function is sent as code, so the scheduler need not have this program."""

    def run(attempt: bytes) -> None:
        import pickle

        from engine.data.cluster.attempt import run_shard

        run_shard(pickle.loads(attempt))

    return run


def _why(future: "Future") -> str:
    """Why the attempt has ended; empty where its shard's folder says it."""
    from distributed import KilledWorker

    if future.status == "finished":
        return ""
    if future.status != "error":
        return "killed: Dask has dropped it"
    error = future.exception()
    if isinstance(error, KilledWorker):
        return "killed: its Dask workers are gone"
    if isinstance(error, ModuleNotFoundError):
        return f"a Dask worker lacks this program ({error}): start workers with its folder in PYTHONPATH"
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
