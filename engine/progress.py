"""What a conversion shows while it runs: a bar on a terminal, a line now and then in a log.

What is shown while a long index or list is read: a bar on a terminal, a line now and then in a log.

What a long part of the audit shows: a bar on a terminal, else a line each half minute.
"""

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

_LOG_SECONDS = 30.0


class Progress:
    """Images done of `total`, with rate, remaining time and bytes written. Use as a context manager.

    `done` images and `written` bytes were there before. The bar goes to stderr and vanishes at the end, so that an
    error's line stands alone. Where stderr is no terminal, plain lines go to stdout every half minute instead.
    """

    def __init__(self, name: str, total: int, done: int = 0, written: int = 0) -> None:
        self.name = name
        self.total = total
        self.done = self._done_before = done
        self._written_before = written
        self.started = self._printed = time.monotonic()
        on_terminal = sys.stderr.isatty()
        self._bar = (
            tqdm(total=total, initial=done, desc=name, unit=" images", leave=False) if on_terminal else None
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def update(self, images: int, bytes_written: int, rejected: int = 0) -> None:
        """`images` more are done; the file now has `bytes_written` bytes, and `rejected` were left out in all."""
        self.done += images
        if self._bar is not None:
            self._bar.set_postfix_str(self._details(bytes_written, rejected), refresh=False)
            self._bar.update(images)
        elif time.monotonic() - self._printed >= _LOG_SECONDS:
            self._printed = time.monotonic()
            rate = (self.done - self._done_before) / self.seconds
            print(
                f"{self.name}: {self.done:,} of {self.total:,} images, {rate:,.0f} images/s, "
                f"{self._details(bytes_written, rejected)}, {human_time((self.total - self.done) / rate)} left",
                flush=True,
            )

    def _details(self, bytes_written: int, rejected: int) -> str:
        rate = human_bytes((bytes_written - self._written_before) / max(self.seconds, 1e-9))
        return f"{human_bytes(bytes_written)} written ({rate}/s), {rejected:,} rejected"


def human_bytes(count: float) -> str:
    """Such as "12.3 MB" (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """Such as "40 s", "1.8 min" or "2.7 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


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
