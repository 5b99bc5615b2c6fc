"""One downloaded file as its readers see it: what is there, who waits for what, and who downloads.

Every process that uses the file has one of these, and a thread that tries to get the entry's lock: who has it
downloads for all, and who ends, or is killed, leaves it to the next one. What is there is a byte for each piece in a
file that all of them map. So ranks need not agree on anything, and several runs share one download.
"""

import atexit
import io
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.reader import Beton, open_beton
from engine.data.remote.cache import Entry
from engine.data.remote.download import Download, Patience
from engine.data.remote.remote_store import CONNECTIONS, Found, Store
from engine.data.sampling.order import cut_pages
from engine.errors import UserError
from engine.files import atomic_write
from engine.progress import Progress, human_bytes, human_time
from engine.system import reserve, sync_data

_BLOCK = 64 * 2**10
_REQUEST = 4 * 2**20
# Between two looks at what is there, and at who downloads.
_LOOK_SECONDS, _LOCK_SECONDS = 0.02, 0.2
# The rest of what was begun is left to a later download.
_END_SECONDS = 2.0


class Arriving:
    """The download of `entry`. `open` it first. It begins when those `before` are complete, or when something of it is
    waited for.
    """

    def __init__(self, store: Store, found: Found, entry: Entry, before: Sequence["Arriving"] = ()) -> None:
        self._store, self._found, self._entry = store, found, entry
        self._before = list(before)
        self.shown = True
        """Whether to show the progress to those who wait for all of it."""
        self._seen, _ = entry.error()
        self._thread: threading.Thread | None = None
        self._needed, self._stopping = threading.Event(), threading.Event()
        self._changed = threading.Lock()
        self._download: Download | None = None
        self._wanted: NDArray[np.int64] = np.empty(0, np.int64)
        self._failure: BaseException | None = None
        self._whole = False

    # ---- opening ----

    def open(self) -> Beton:
        """The file, checked, of which only the tables need be there. Raises UserError."""
        while True:
            if self._entry.is_complete:
                return self._open_complete()
            if self._entry.is_begun:
                with suppress(FileNotFoundError):
                    return self._open_partial()
            elif (lock := self._entry.try_lock()) is not None:
                try:
                    self._fetch_tables()
                finally:
                    os.close(lock)
            else:
                self._refuse_failed()
                time.sleep(_LOCK_SECONDS)

    def _open_complete(self) -> Beton:
        try:
            return open_beton(self._entry.path)
        except UserError as error:
            raise self._of_copy(error) from None

    def _of_copy(self, error: UserError) -> UserError:
        entry = self._entry
        return UserError(
            f"{error} (in the copy of {entry.url}: remove {entry.folder}, and it is downloaded again)"
        )

    def _open_partial(self) -> Beton:
        # Kept open: it will be renamed.
        self._file = os.open(self._entry.partial, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._there = np.memmap(self._entry.pieces, np.uint8, "r")
        try:
            with open(self._file, "rb", closefd=False) as file:
                beton = self._read(file)
        except UserError as error:
            raise self._of_copy(error) from None
        self._pages = cut_pages(beton.images["data_ptr"], beton.sizes)
        self._sizes = np.diff(self._pages.spans, axis=1).ravel()
        self._beton = replace(beton, path=self._entry.path, arrival=self)
        return self._beton

    def _fetch_tables(self) -> None:
        entry = self._entry
        if entry.is_complete or entry.is_begun:
            # Another process was faster.
            return
        entry.pieces.unlink(missing_ok=True)
        try:
            with _Fetched(entry, self._store, self._found, self._tell) as file:
                beton = self._read(file)
                pages = cut_pages(beton.images["data_ptr"], beton.sizes)
                entry.cache.make_room(entry)
                # Pages arrive in the epoch's order: without it they would lie on the disk in that order, in many parts.
                reserve(file.fileno(), self._found.size)
                sync_data(file.fileno())
            # Whose being there says that the tables are.
            with atomic_write(entry.pieces) as pieces:
                pieces.write(bytes(len(pages.spans)))
        except BaseException as error:
            entry.partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise entry.cache.unusable(error) from None
            raise

    def _read(self, file: BinaryIO) -> Beton:
        try:
            return open_beton(self._entry.partial, file)
        except UserError as error:
            raise UserError(str(error).replace(str(self._entry.partial), self._entry.url)) from None

    # ---- what readers ask ----

    @property
    def descriptor(self) -> int:
        """As in engine.data.beton.reader.Arrival, and so with the methods that follow."""
        return self._file

    @property
    def is_complete(self) -> bool:
        self._whole = self._whole or bool(self._there.all())
        return self._whole

    @property
    def bytes_arrived(self) -> int:
        return int(self._sizes[self._there[:] != 0].sum())

    def start(self) -> None:
        with self._changed:
            if self._thread is None and not self._entry.is_complete:
                self._thread = threading.Thread(target=self._run, name="download", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def prefer(self, spans: NDArray[np.int64]) -> None:
        self._wanted = self._pieces_of(spans)
        if download := self._download:
            download.prefer(self._wanted)

    def wait(self, spans: NDArray[np.int64] | None = None, goes_on: Callable[[], bool] | None = None) -> None:
        self._begin_needed()
        if spans is None and goes_on is None:
            self._wait_for_all()
            return
        pieces = slice(None) if spans is None else self._pieces_of(spans)
        while not self._there[pieces].all() and (goes_on is None or goes_on()):
            self._look()

    def _begin_needed(self) -> None:
        """Somebody waits: begin now, again where it has failed while nobody did."""
        if not self._needed.is_set():
            self._needed.set()
            if self._failure is not None and self._thread is not None:
                self._thread.join()
                self._seen, _ = self._entry.error()
                self._thread = self._failure = None
        self.start()

    def _wait_for_all(self) -> None:
        total, name = int(self._sizes.sum()), f"downloading {self._entry.path.name}"
        with Progress(name, total, "bytes", done=self.bytes_arrived, shown=self.shown) as progress:
            # Its last byte is not enough: it has its name a moment later.
            while not self._entry.is_complete:
                self._look()
                progress.reach(self.bytes_arrived)

    def _look(self) -> None:
        if self._failure is not None:
            raise self._failure
        time.sleep(_LOOK_SECONDS)

    def _pieces_of(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._pages.spans[:, 0], spans[:, 0])

    # ---- downloading ----

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and not self._entry.is_complete:
                if self._is_turn() and (lock := self._entry.try_lock()) is not None:
                    try:
                        self._refuse_failed()
                        self._bring_all()
                    finally:
                        os.close(lock)
                else:
                    self._refuse_failed()
                    self._stopping.wait(_LOCK_SECONDS)
        except BaseException as error:  # noqa: BLE001 - raised again in those who wait
            self._failure = error

    def _is_turn(self) -> bool:
        return self._needed.is_set() or all(other.is_complete for other in self._before)

    def _refuse_failed(self) -> None:
        """Raise UserError where another process's download has failed since this one began to wait for it."""
        when, why = self._entry.error()
        if when != self._seen:
            raise UserError(why)

    def _bring_all(self) -> None:
        entry, started, before = self._entry, time.monotonic(), self.bytes_arrived
        if entry.is_complete:
            return
        try:
            entry.cache.make_room(entry)
            file = os.open(entry.partial, os.O_RDWR)
            try:
                there = np.memmap(entry.pieces, np.uint8, "r+")
                download = Download(
                    *(self._store, self._found.tag, self._beton, self._pages, there, file), told=self._tell
                )
                self._download = download
                download.prefer(self._wanted)
                # Asked to end before there was one to stop.
                if not self._stopping.is_set():
                    download.run()
                if there.all():
                    os.fsync(file)
                    entry.finish()
                    seconds, size = time.monotonic() - started, int(self._sizes.sum()) - before
                    self._tell(
                        f"note: {entry.url} is complete: {human_bytes(size)} in {human_time(seconds)} "
                        f"({human_bytes(size / max(seconds, 1e-9))}/s), kept as {entry.path}"
                    )
            finally:
                self._download = None
                os.close(file)
        except BaseException as error:  # noqa: BLE001 - raised again, for all who wait
            told = entry.cache.unusable(error) if isinstance(error, OSError) else error
            entry.fail(str(told) if isinstance(told, UserError) else f"the download failed: {told!r}")
            self._seen, _ = entry.error()
            raise told from None

    def _tell(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None:
        """End the download, if it is this process's; what has arrived stays."""
        self._stopping.set()
        if self._thread is None:
            return
        until = time.monotonic() + _END_SECONDS
        while self._thread.is_alive() and time.monotonic() < until:
            if download := self._download:
                download.stop()
            self._thread.join(_LOOK_SECONDS)
        atexit.unregister(self.close)


class _Fetched(io.FileIO):
    """The partial file, whose bytes are fetched when they are read."""

    def __init__(self, entry: Entry, store: Store, found: Found, told: Callable[[str], None]) -> None:
        try:
            super().__init__(entry.partial, "w+b")
            os.truncate(self.fileno(), found.size)
        except OSError as error:
            raise entry.cache.unusable(error) from None
        self._entry, self._store, self._found = entry, store, found
        self._patience = Patience(store, told)
        self._there = np.zeros(-(-found.size // _BLOCK), bool)

    def read(self, size: int | None = -1) -> bytes:
        """As FileIO's, of bytes that may not be there yet."""
        start = self.tell()
        stop = self._found.size if size is None or size < 0 else min(start + size, self._found.size)
        self._fetch(start, stop)
        return super().read(size) or b""

    def _fetch(self, start: int, stop: int) -> None:
        blocks = np.arange(start // _BLOCK, -(-stop // _BLOCK))
        missing = blocks[~self._there[blocks]]
        if not len(missing):
            return
        first, behind = int(missing[0]) * _BLOCK, min((int(missing[-1]) + 1) * _BLOCK, self._found.size)

        ended = threading.Event()

        def fetch(at: int) -> None:
            end = min(at + _REQUEST, behind)
            data = self._patience.ask(lambda: self._store.read(at, end, self._found.tag), ended.is_set)
            if data is None:
                return
            try:
                os.pwrite(self.fileno(), memoryview(data), at)
            except OSError as error:
                raise self._entry.cache.unusable(error) from None

        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="download")
        try:
            list(pool.map(fetch, range(first, behind, _REQUEST)))
        except BaseException:
            ended.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        self._there[missing[0] : missing[-1] + 1] = True
