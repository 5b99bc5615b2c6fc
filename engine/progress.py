"""Progress of long work: a bar on a terminal, a plain line every 30 seconds anywhere else.

Both go to stderr, so that a command's output can be piped. Every rate and every "time left" that follows from a rate
is computed and formatted here (a training run's own, by epochs, is in engine.runs.time_left).
"""

import sys
import threading
import time
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

LOG_SECONDS = 30.0
"""Between two lines where stderr is no terminal."""

# Indexing most data sets takes less: no bar for it.
_SCAN_DELAY = 1.0


class Progress:
    """`total` things of one `unit`, with rate and time left. Use as a context manager; `update` from any thread.

    `done` of them, and `size` bytes, were there before: they count neither for the rate nor for the time left. With
    unit "bytes" counts are shown as sizes. `verb` says what is done to the bytes that `update` is given ("written",
    "read"). The bar is removed at the end, so that an error's line stands alone, and appears only after `delay`
    seconds. Nothing is shown where `shown` is false, as on all ranks but the first.
    """

    def __init__(
        self,
        name: str,
        total: int,
        unit: str = "images",
        *,
        done: int = 0,
        size: int = 0,
        verb: str = "written",
        delay: float = 0.0,
        shown: bool = True,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = self._done_before = done
        self._size_before, self._verb = size, verb
        self._shown = shown
        self._lock = threading.Lock()
        self._bar: tqdm[NoReturn] | None = None
        if shown and sys.stderr.isatty():
            is_size = unit == "bytes"
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=name,
                unit="B" if is_size else f" {unit}",
                unit_scale=is_size,
                leave=False,
                delay=delay,
            )
        self.started = self._printed = time.monotonic()

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

    def update(self, count: int, *, size: int | None = None, rejected: int | None = None) -> None:
        """`count` more are done; `size` bytes were written or read so far, and `rejected` images left out in all."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.set_postfix_str(", ".join(self._details(size, rejected)), refresh=False)
                self._bar.update(count)
            elif self._shown and time.monotonic() - self._printed >= LOG_SECONDS:
                self._printed = time.monotonic()
                print(self._line(size, rejected), file=sys.stderr, flush=True)

    def reach(self, done: int) -> None:
        """`done` are done in all."""
        self.update(done - self.done)

    def _line(self, size: int | None, rejected: int | None) -> str:
        if self.unit == "bytes":
            parts = [f"{human_bytes(self.done)} of {human_bytes(self.total)}"]
        else:
            parts = [f"{self.done:,} of {self.total:,} {self.unit}"]
        new, seconds = self.done - self._done_before, self.seconds
        parts += [human_rate(new, seconds, self.unit), *self._details(size, rejected)]
        parts += [f"{human_time(seconds_left(new, self.total - self.done, seconds))} left"] if new else []
        return f"{self.name}: {', '.join(parts)}"

    def _details(self, size: int | None, rejected: int | None) -> list[str]:
        details = []
        if size is not None:
            rate = human_rate(size - self._size_before, self.seconds, "bytes")
            details.append(f"{human_bytes(size)} {self._verb} ({rate})")
        if rejected is not None:
            details.append(f"{rejected:,} rejected")
        return details


def scanning(what: str, total: int, unit: str) -> Progress:
    """The progress of reading an index or a list of labels, before any image is read."""
    return Progress(f"scanning {what}", total, unit, delay=_SCAN_DELAY)


def seconds_left(done: int, left: int, seconds: float) -> float:
    """How long `left` more take at the rate of `done` (at least one) in `seconds`."""
    return left * seconds / done


def human_rate(count: float, seconds: float, unit: str) -> str:
    """Such as "1,234 images/s", or "12.3 MB/s" for unit "bytes"."""
    rate = count / max(seconds, 1e-9)
    return f"{human_bytes(rate)}/s" if unit == "bytes" else f"{rate:,.0f} {unit}/s"


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
