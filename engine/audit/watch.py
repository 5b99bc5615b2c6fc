"""What a long part of the audit shows: a bar on a terminal, else a line each half minute."""

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

_LOG_SECONDS = 30.0


class Watch:
    """Counts what is done of `total`, with rate and remaining time, both on stderr. Use as a context manager.

    `update` may be called from any thread.
    """

    def __init__(self, name: str, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.started = self._told = time.monotonic()
        self._lock = threading.Lock()
        # None: shown on a terminal only.
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", unit_scale=True, leave=False, disable=None)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, count: int) -> None:
        """`count` more are done."""
        with self._lock:
            self.done += count
            self._bar.update(count)
            now = time.monotonic()
            if self._bar.disable and now - self._told >= _LOG_SECONDS:
                self._told = now
                print(self._line(now - self.started), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self.done / seconds
        left = (self.total - self.done) / rate / 60
        return (
            f"{self.name}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.0f} {self.unit}/s, "
            f"{left:.1f} min left"
        )
