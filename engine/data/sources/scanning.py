"""What is shown while a long index or list is read: a bar on a terminal, a line now and then in a log."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

_LOG_SECONDS = 30.0


class Scanning:
    """How much of `total` has been looked through. Use as a context manager.

    The bar, as a conversion's own, goes to stderr and vanishes at the end; where stderr is no terminal, plain
    lines go to stdout every half minute.
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._printed = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total, desc=f"scanning {what}", unit=f" {unit}", unit_scale=True, leave=False, delay=1
            )

    def __enter__(self) -> "Scanning":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def reached(self, done: int) -> None:
        """`done` of `total` have been looked through."""
        if self._bar is not None:
            self._bar.update(done - self.done)
        elif time.monotonic() - self._printed >= _LOG_SECONDS:
            self._printed = time.monotonic()
            print(f"scanning {self.what}: {done:,} of {self.total:,} {self.unit}", flush=True)
        self.done = done
