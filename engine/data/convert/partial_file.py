"""An unfinished file, `<name>.partial`, and the journal beside it from which an interrupted conversion is resumed.

    decide (resume or restart) -> begin -> keep ... -> finished -> rename -> forget

Every few seconds a separate thread syncs the file and then enters the new records in the journal, so that writing does
not wait for the disk. However the process ends, the records that the journal lists are in the file.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.direct_file import DirectFile, bytes_on_disk
from engine.data.convert.chunk import STORED
from engine.data.convert.journal import Entry, Journal

# At most so much work is lost by a sudden end.
KEEP_SECONDS = 5.0

# So many of the finished images are read again before a conversion is resumed.
LOOKED_AT = 18

# Limits above which an image counts as oversized.
_LIMITS = ("max_megapixels", "max_megabytes")


class Partial:
    """The file that becomes `path`. Use as a context manager, which holds the journal's lock.

    If the block ends with an error, the file stays as far as it was kept; if nothing was, both files are removed.
    Raises UserError when another conversion is writing it, OSError when the system refuses to write, as on a full disk.
    """

    file: DirectFile
    """From `begin` to the block's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.kept = Entry(done=0)
        """The last entry of the journal; without images where it can't be resumed."""
        self.is_named = False
        """After `decide`: whether an interrupted run gave the complete file its name already; `begin` takes it back."""
        self._journal_path = journal_path(path)
        self._pending: Future[None] | None = None
        self._synced = time.monotonic()
        self._is_begun = False

    def __enter__(self) -> "Partial":
        self._journal = Journal(self._journal_path)
        self._syncing = ThreadPoolExecutor(1, "sync")
        self._files = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._syncing.shutdown()
        self._files.__exit__(kind, error, trace)
        if self._is_begun and not self.kept.done:
            self.partial.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)
        elif self._journal_path.exists() and not self._journal_path.stat().st_size:
            self._journal_path.unlink()
        self._journal.close()

    def decide(
        self,
        fingerprint: str,
        rules: Mapping[str, str],
        changed: Callable[[NDArray[np.void]], str],
        restart: str = "",
    ) -> str:
        """Decide whether `begin` resumes the file or restarts it (always, where `restart` gives a reason).

        `changed` is given a few of the stored rows (STORED) and returns a reason if their images have changed. Until
        `begin` nothing is written, so that the conversion may still be refused. Returns the reason why images that
        were done can't be kept, or "".
        """
        first = None
        for entry in self._journal.entries():
            first = first or entry
            self.kept = replace(entry, stored=self.kept.stored)
        why = restart or self._why_not(first, fingerprint, rules) or changed(self._some_rows())
        begun = self.kept.done
        self._goes_on = first is not None and not why
        self.is_named = self._goes_on and self._has_its_name()
        if not self._goes_on:
            self.kept = Entry(done=0)
        self._first = Entry(done=0, fingerprint=fingerprint, rules=dict(rules))
        return why if begun else ""

    def begin(self) -> None:
        """Open the file as `decide` has decided: as it was left, or empty."""
        if self.is_named:
            os.replace(self.path, self.partial)
            self.is_named = False
        file = open(self.partial, "r+b" if self._goes_on else "w+b", buffering=0)  # noqa: SIM115 - by the stack
        self._files.enter_context(file)
        self._is_begun = True
        if self._goes_on:
            file.truncate(self.kept.offset)
        self.file = self._files.enter_context(DirectFile(file))
        if not self._goes_on:
            self._journal.start()
            self._journal.append(self._first)

    @property
    def on_disk(self) -> int:
        """Bytes that the file takes on the disk, and that become free when it is restarted."""
        path = self.path if self.is_named else self.partial
        return bytes_on_disk(path.stat()) if path.exists() else 0

    def is_whole(self, fingerprint: str, rules: Mapping[str, str]) -> bool:
        """Whether the file is complete under its name, by a journal with these marks; opens and closes the journal."""
        with closing(Journal(self._journal_path)) as journal:
            first = last = None
            for entry in journal.entries():
                first, last = first or entry, entry
        if first is None or last is None or first.fingerprint != fingerprint or last.rules != rules:
            return False
        return last.finished is not None and _identity(self.path) == last.finished

    def _why_not(self, first: Entry | None, fingerprint: str, rules: Mapping[str, str]) -> str:
        if first is None:
            return ""
        if first.fingerprint != fingerprint:
            return "it was started with other images, settings or versions"
        for kind, rule in rules.items():
            if concerns_done(kind, rule, self.kept.rules, self.kept.odd):
                return f"it was started with another value of rules.{kind}, which affects some of its images"
        left = self.path if self._has_its_name() else self.partial
        if not left.exists() or left.stat().st_size < self.kept.offset:
            return f"part of {self.partial.name} is missing"
        return ""

    def _some_rows(self) -> NDArray[np.void]:
        """LOOKED_AT rows of the journal: the first, the last and some evenly between; all where there are fewer."""
        count = sum(len(entry.stored) for entry in self._journal.entries())
        wanted = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))
        rows, begin = [np.zeros(0, STORED)], 0
        for entry in self._journal.entries():
            end = begin + len(entry.stored)
            rows.append(entry.stored[wanted[(begin <= wanted) & (wanted < end)] - begin])
            begin = end
        return np.concatenate(rows)

    def _has_its_name(self) -> bool:
        """Whether an earlier run gave this file its name, but was ended before it had finished."""
        is_there = self.kept.finished and self.path.exists() and not self.partial.exists()
        return bool(is_there) and _identity(self.path) == self.kept.finished

    def entries(self) -> Iterator[Entry]:
        """The journal's entries; to be read to the end before anything is kept."""
        return self._journal.entries()

    def due(self) -> bool:
        """Whether it is time to call `keep`."""
        if self._pending is not None:
            if not self._pending.done():
                return False
            self._wait()
        return time.monotonic() - self._synced >= KEEP_SECONDS

    def keep(self, entry: Entry) -> None:
        """Start to sync the file and then to append the entry to the journal, in another thread."""
        self._wait()
        self.file.flush()
        self._synced = time.monotonic()
        self._pending = self._syncing.submit(self._sync, entry)

    def keep_now(self, entry: Entry) -> None:
        """The same, done on return."""
        self.keep(entry)
        self._wait()

    def finished(self, entry: Entry) -> None:
        """Everything is written; only the renaming is left."""
        found = os.fstat(self.file.fileno())
        self.file.flush()
        size = os.fstat(self.file.fileno()).st_size
        self.keep_now(replace(entry, finished=(size, found.st_ino)))

    def rename(self) -> None:
        """Give the file its name."""
        os.replace(self.partial, self.path)

    def forget(self) -> None:
        """Remove the journal, once every file of the conversion has its name."""
        self._journal_path.unlink()

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _sync(self, entry: Entry) -> None:
        os.fsync(self.file.fileno())
        self._journal.append(entry)
        self.kept = replace(entry, stored=self.kept.stored)


def concerns_done(kind: str, rule: str, before: Mapping[str, str], odd: Mapping[str, int]) -> bool:
    """Whether this value of a rule may make another thing of an image that is done.

    `before` are the rules that it was done by, `odd` kind of odd image -> how many of them are done.
    """
    if rule == before.get(kind):
        return False
    if kind in _LIMITS:
        return int(rule) < int(before.get(kind, 0)) or bool(odd.get("oversized"))
    return kind == "exif" or bool(odd.get(kind))


def partial_path(path: Path) -> Path:
    """Where the file lies until it gets its name."""
    return path.with_name(f"{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Where its journal lies until the conversion to `path` is finished."""
    return path.with_name(f"{path.name}.partial.journal")


def _identity(path: Path) -> tuple[int, int]:
    """Size in bytes and inode number."""
    found = path.stat()
    return found.st_size, found.st_ino
