"""A file under way: `<name>.partial`, and beside it the journal by which an interrupted conversion goes on.

    decide (anew, or going on?) -> begin -> keep ... -> finished -> rename -> forget

Now and then what was written is synced and then entered in the journal, in a thread of its own, so that writing need
not wait for the disk. Whatever ends the process, the journal tells of a part of the file that is there.
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

# How much work a sudden end may cost.
KEEP_SECONDS = 5.0

# Of the images that are done, how many are looked at again before it is gone on with them.
LOOKED_AT = 18

# Rules that are about every image, not about those of one kind.
_OF_ALL = {"exif", "max_megapixels"}


class Partial:
    """The file that becomes `path`. Use as a context manager, which holds the journal's lock.

    What was kept stays when the block is left by an error; where that is nothing, both files are removed. Raises
    UserError when another conversion is at it, OSError when the system refuses to write, as on a full disk.
    """

    file: DirectFile
    """From `begin` to the block's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.kept = Entry(done=0)
        """The last entry of the journal; without images where they are of no use."""
        self.is_named = False
        """After `decide`: whether the file, of an interrupted run, lies whole under its name, to be taken back."""
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
        anew: str = "",
    ) -> str:
        """Whether `begin` goes on with what was left, or (always where there is a reason, `anew`) not.

        `changed` is given a few of the rows (STORED) that are there, and says in words if their images are others now.
        Until `begin` nothing is changed, so that the conversion may still be refused. Returns why there is something
        that can't be gone on with, in words, else an empty text.
        """
        first = None
        for entry in self._journal.entries():
            first = first or entry
            self.kept = replace(entry, stored=self.kept.stored)
        why = anew or self._why_not(first, fingerprint, rules) or changed(self._some_rows())
        begun = self.kept.done
        self._goes_on = first is not None and not why
        self.is_named = self._goes_on and self._has_its_name()
        if not self._goes_on:
            self.kept = Entry(done=0)
        self._first = Entry(done=0, fingerprint=fingerprint, rules=dict(rules))
        return why if begun else ""

    def begin(self) -> None:
        """Open the file as was decided: as it was left, or as an empty one."""
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
        """Bytes that the file takes on the disk, and that become free when it is begun anew."""
        path = self.path if self.is_named else self.partial
        return bytes_on_disk(path.stat()) if path.exists() else 0

    def is_whole(self, fingerprint: str, rules: Mapping[str, str]) -> bool:
        """Whether the journal (to be opened, and closed again, here) is of the same, whole and under its name."""
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
            return "it was begun with other images, settings or versions"
        for kind, rule in rules.items():
            if rule != self.kept.rules.get(kind) and (kind in _OF_ALL or self.kept.odd.get(kind)):
                return f"it was begun with another value of rules.{kind}, which some of its images depend on"
        left = self.path if self._has_its_name() else self.partial
        if not left.exists() or left.stat().st_size < self.kept.offset:
            return f"a part of {self.partial.name} is gone"
        return ""

    def _some_rows(self) -> NDArray[np.void]:
        """Of what the journal tells: the first, the last and some rows evenly between; all of a few."""
        count = sum(len(entry.stored) for entry in self._journal.entries())
        wanted = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64))
        rows, begin = [np.zeros(0, STORED)], 0
        for entry in self._journal.entries():
            end = begin + len(entry.stored)
            rows.append(entry.stored[wanted[(begin <= wanted) & (wanted < end)] - begin])
            begin = end
        return np.concatenate(rows)

    def _has_its_name(self) -> bool:
        """Whether an earlier run was ended after it had given this file its name, but before it was done."""
        is_there = self.kept.finished and self.path.exists() and not self.partial.exists()
        return bool(is_there) and _identity(self.path) == self.kept.finished

    def entries(self) -> Iterator[Entry]:
        """What the journal tells of the file as it was left; to be read to its end before anything is kept."""
        return self._journal.entries()

    def due(self) -> bool:
        """Whether it is time to keep what was done."""
        if self._pending is not None:
            if not self._pending.done():
                return False
            self._wait()
        return time.monotonic() - self._synced >= KEEP_SECONDS

    def keep(self, entry: Entry) -> None:
        """Begin to sync the file and then enter this in the journal."""
        self._wait()
        self.file.flush()
        self._synced = time.monotonic()
        self._pending = self._syncing.submit(self._sync, entry)

    def keep_now(self, entry: Entry) -> None:
        """The same; it is done on return."""
        self.keep(entry)
        self._wait()

    def finished(self, entry: Entry) -> None:
        """All is written and nothing left but renaming."""
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


def partial_path(path: Path) -> Path:
    """Where the file lies until it gets its name."""
    return path.with_name(f"{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Where its journal lies, as long as a conversion to `path` was begun and did not come to its end."""
    return path.with_name(f"{path.name}.partial.journal")


def _identity(path: Path) -> tuple[int, int]:
    """Size in bytes and number on its file system."""
    found = path.stat()
    return found.st_size, found.st_ino
