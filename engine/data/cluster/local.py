"""run.on=local: shards on this machine, run.workers at a time."""

import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType

from engine.config.write import WriteConfig
from engine.data.cluster.attempt import RUNNING, Attempt, end, run_shard
from engine.data.convert.workers import default_workers
from engine.errors import UserError


class LocalExecutor:
    """A thread for each slot, which waits for the process of one attempt after the other."""

    pause = 0.2

    def __init__(self, config: WriteConfig) -> None:
        self.slots = config.run.workers or 1
        self._encoders = config.output.num_workers or default_workers(self.slots)
        self._waiting: queue.Queue[Attempt | None] = queue.Queue()
        self._ended: queue.Queue[tuple[str, str]] = queue.Queue()
        self._closing = threading.Event()

    def __enter__(self) -> "LocalExecutor":
        self._threads = [
            threading.Thread(target=self._work, name="shard", daemon=True) for _ in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for _ in self._threads:
            self._waiting.put(None)
        while any(thread.is_alive() for thread in self._threads):
            for process in list(RUNNING):
                end(process)
            for thread in self._threads:
                thread.join(0.1)

    def start(self, attempts: Sequence[Attempt]) -> None:
        """See Executor."""
        for attempt in attempts:
            self._waiting.put(replace(attempt, workers=self._encoders))

    def poll(self) -> Iterable[tuple[str, str]]:
        """See Executor."""
        while not self._ended.empty():
            yield self._ended.get()

    def _work(self) -> None:
        while (attempt := self._waiting.get()) is not None and not self._closing.is_set():
            why = ""
            try:
                run_shard(attempt)
            except UserError as error:
                why = str(error)
            # Whatever it is, the main thread has to know: it would wait for ever.
            except Exception as error:  # noqa: BLE001
                why = f"{type(error).__name__}: {error}"
            self._ended.put((attempt.shard, why))
