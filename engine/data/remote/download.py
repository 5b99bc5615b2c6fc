"""The download of a file's records: ranges in parallel, each record checked as it arrives, tried again where a request
fails.

    pieces in the order wanted -> requests, _MOST bytes at most -> checksums -> file -> fdatasync -> marked as there

A piece is a page of page-wise order (sampling.order.cut_pages): whole records, about 1 MiB. It is marked only when the
disk has it, a group at a time, so that the marks are true after a kill, and after a crash of the machine as well.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton
from engine.data.remote.remote_store import CONNECTIONS, Failed, Store
from engine.data.sampling.order import Pages
from engine.errors import UserError
from engine.system import sync_data

T = TypeVar("T")

GIVE_UP_SECONDS = 120.0
"""Without a byte."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0

# One request for neighbours: few requests where the order is the file's.
_MOST = 4 * 2**20
# How often a damaged piece is asked for again.
_TIMES = 5
_GAP = 64 * 2**10
# A group is synced when it is so large, or so old.
_GROUP_BYTES, _GROUP_SECONDS = 64 * 2**20, 0.5


class Patience:
    """Asks a server again after a failure, until GIVE_UP_SECONDS have passed in which all requests have failed."""

    def __init__(self, store: Store, told: Callable[[str], None]) -> None:
        self._store, self._told = store, told
        # The first failure since the last answer. Not that answer: a process that was stopped has asked nothing.
        self._failing_since: float | None = None
        self._said = 0.0

    def ask(
        self,
        question: Callable[[], T],
        stopping: Callable[[], bool] = lambda: False,
        slow: Callable[[], None] = lambda: None,
    ) -> T | None:
        """The answer; None when `stopping` says so before there is one; `slow` is told of answers that took too long.

        Raises UserError.
        """
        wait = _FIRST_WAIT
        while not stopping():
            try:
                answer = question()
            except Failed as error:
                self._after(error, wait)
                if error.is_slow:
                    slow()
                until = time.monotonic() + wait
                while time.monotonic() < until and not stopping():
                    time.sleep(min(0.1, wait))
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                self._failing_since = None
                return answer
        return None

    def _after(self, error: Failed, wait: float) -> None:
        now = time.monotonic()
        since = self._failing_since = self._failing_since or now
        if now - since > GIVE_UP_SECONDS:
            raise UserError(
                f"cannot download {self._store.url}: {error}; given up after {now - since:.0f} s without an "
                "answer: see to the server or the network, then start the same command again: it goes on from here"
            ) from None
        # Many requests fail at once, of which one line says enough.
        if now - self._said > _FIRST_WAIT:
            self._said = now
            self._told(
                f"note: {self._store.url}: {error}: trying again in {wait:g} s (gives up after "
                f"{GIVE_UP_SECONDS:.0f} s without an answer)"
            )


class Download:
    """Brings the pieces that `there`, a byte for each, has as 0 into the file open as `descriptor`.

    `run` does it, in the thread that calls it and CONNECTIONS others; `prefer` and `stop` come from any thread.
    """

    def __init__(
        self,
        store: Store,
        tag: str,
        beton: Beton,
        pages: Pages,
        there: NDArray[np.uint8],
        descriptor: int,
        told: Callable[[str], None],
    ) -> None:
        self._store, self._tag, self._beton, self._pages = store, tag, beton, pages
        self._there, self._file, self._told = there, descriptor, told
        self._patience = Patience(store, told)
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._taken = there.astype(bool)
        self._order, self._at = np.arange(len(there)), 0
        self._written: list[int] = []
        self._group_bytes = 0
        self._working, self._busy = 0, 0
        self._allowed, self._slowed = float(CONNECTIONS), 0.0
        self._error: BaseException | None = None
        self._stopping = False

    def prefer(self, pieces: NDArray[np.int64]) -> None:
        """Bring these first, in this order, then the others in the file's."""
        with self._changed:
            self._order, self._at = np.concatenate([pieces, np.arange(len(self._there))]), 0

    def stop(self) -> None:
        """End `run` soon: what was begun is finished first."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def run(self) -> None:
        """Returns when all pieces are there, or after `stop`. Raises UserError."""
        threads = [
            threading.Thread(target=self._work, name="download", daemon=True) for _ in range(CONNECTIONS)
        ]
        with self._changed:
            self._working = len(threads)
        for thread in threads:
            thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, timeout=_GROUP_SECONDS)
                ended = self._working == 0
            self._mark_written()
            if ended:
                break
        if self._error is not None:
            raise self._error

    def _is_due(self) -> bool:
        return self._working == 0 or self._group_bytes >= _GROUP_BYTES

    def _mark_written(self) -> None:
        with self._changed:
            written, self._written, self._group_bytes = self._written, [], 0
        if written:
            sync_data(self._file)
            self._there[written] = 1

    def _work(self) -> None:
        try:
            while len(pieces := self._take()):
                try:
                    self._bring(pieces)
                finally:
                    with self._changed:
                        self._busy -= 1
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by run
            with self._changed:
                self._error = self._error or error
                self._stopping = True
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _take(self) -> NDArray[np.int64]:
        """The next pieces in order that lie behind each other, together at most _MOST bytes; none at the end."""
        spans = self._pages.spans
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._busy < self._allowed)
            while self._at < len(self._order) and self._taken[self._order[self._at]]:
                self._at += 1
            if self._stopping or self._at == len(self._order):
                return np.empty(0, np.int64)
            self._busy += 1
            first = last = int(self._order[self._at])
            self._taken[first] = True
            self._at += 1
            while (
                self._at < len(self._order)
                and self._order[self._at] == last + 1
                and not self._taken[last + 1]
            ):
                start, stop = spans[last + 1]
                if start - spans[last, 1] > _GAP or stop - spans[first, 0] > _MOST:
                    break
                last += 1
                self._taken[last] = True
                self._at += 1
            return np.arange(first, last + 1)

    def _bring(self, pieces: NDArray[np.int64]) -> None:
        start, stop = int(self._pages.spans[pieces[0], 0]), int(self._pages.spans[pieces[-1], 1])
        data = self._read(start, stop)
        if data is None:
            return
        for piece in pieces.tolist():
            first, behind = self._pages.spans[piece].tolist()
            own = data[first - start : behind - start]
            if (sample := self._wrong(piece, own)) is not None:
                again = self._read_again(piece, own, sample)
                if again is None:
                    return
                own = again
            _write(self._file, own, first)
            with self._changed:
                self._written.append(piece)
                self._group_bytes += len(own)
                if self._is_due():
                    self._changed.notify_all()

    def _read(self, start: int, stop: int) -> memoryview | None:
        data = self._patience.ask(
            lambda: memoryview(self._store.read(start, stop, self._tag)),
            lambda: self._stopping,
            self._slow_down,
        )
        with self._changed:
            self._allowed = min(CONNECTIONS, self._allowed + 1 / self._allowed)
        return data

    def _slow_down(self) -> None:
        """Half as many requests at a time, for a line that is too slow for them; more again with each answer."""
        with self._changed:
            if time.monotonic() - self._slowed > _LONGEST_WAIT:
                self._allowed, self._slowed = max(1.0, self._allowed / 2), time.monotonic()

    def _wrong(self, piece: int, data: memoryview) -> int | None:
        """The first sample whose record is not what its checksum says; None where all are, or have none."""
        beton = self._beton
        if beton.checksums is None:
            return None
        first, behind = self._pages.starts[piece : piece + 2]
        samples = self._pages.samples[first:behind]
        starts = beton.images["data_ptr"][samples].astype(np.int64) - self._pages.spans[piece, 0]
        columns = (samples, starts, beton.sizes[samples], beton.checksums[samples])
        for sample, start, size, wanted in zip(*(column.tolist() for column in columns), strict=True):
            if crc32(data[start : start + size]) != wanted:
                return int(sample)
        return None

    def _read_again(self, piece: int, before: memoryview, sample: int) -> memoryview | None:
        """A piece that has arrived damaged once more, until it is whole, or the same twice: then the server has it so,
        and data.corrupt says what to do with it, as in a local file."""
        start, stop = self._pages.spans[piece].tolist()
        for _ in range(_TIMES):
            self._told(f"note: {self._store.url}: sample {sample} has arrived damaged: downloading it again")
            data = self._read(start, stop)
            if data is None or (wrong := self._wrong(piece, data)) is None:
                return data
            if data == before:
                self._told(
                    f"note: {self._store.url}: sample {sample} is damaged on the server (see data.corrupt)"
                )
                return data
            before, sample = data, wrong
        raise UserError(
            f"cannot download {self._store.url}: sample {sample} arrives with other damage each time: see to the "
            "network, or a proxy in between, then start the same command again: it goes on from here"
        )


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
