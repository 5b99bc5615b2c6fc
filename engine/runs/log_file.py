"""log.jsonl of a run's folder, written by one process at a time: each line is on the disk before the call returns.

Lines are only appended, but where a run is resumed: what it makes again (an epoch after its checkpoint) is taken out,
so that the file has each epoch once.

The writer locks a separate file, `.lock`: a POSIX lock ends with its process, even when a worker that it forked lives
on, but also when the process closes the locked file anywhere, and the log itself is opened to be copied.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.runs.folder import LOG, LOG_LOCK, checkpoints_of, stages_with
from engine.runs.log_fields import Json
from engine.runs.log_reader import parse_line, parse_log, parse_object
from engine.runs.log_schema import LogLine
from engine.system import lock_for_process


class RunLog:
    """A log open for appending, and the lock that comes with it."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, and UserError when another process has it."""
        self._path = folder / LOG
        self._lock_path = folder / LOG_LOCK
        self._lock = _locked(self._lock_path)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except BaseException:
            self._unlock()
            raise

    @classmethod
    def begin(cls, folder: Path) -> Self:
        """Make the folder and an empty log in it. Raises UserError for a name that is taken and the like."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_taken(folder)
            return cls(folder)
        except OSError as error:
            discard_empty(folder)
            raise describe_os_error(error, folder, "make the run folder") from None

    @classmethod
    def resume(cls, folder: Path) -> tuple[Self, list[LogLine], int]:
        """Open the log that is there: the log, its lines, and how many were not whole. Raises UserError without one."""
        path = folder / LOG
        if not path.is_file():
            if checkpoints_of(folder):
                raise UserError(
                    f"training.resume: {path} is gone, but its checkpoints are there: `touch {path}`, and the run "
                    f"resumes without its earlier log"
                )
            raise UserError(
                f"training.resume: {folder} is not a run folder (it holds no {LOG}): check the path"
            )
        try:
            log = cls(folder)
        except OSError as error:
            raise describe_os_error(error, path, "write") from None
        try:
            return log, *log._read_and_mend()
        except OSError as error:
            log.close()
            raise describe_os_error(error, path, "continue") from None

    def write(self, line: Json) -> None:
        """Append one line and wait until the disk has it. Raises UserError, and then no part of the line stays."""
        content = _row(line)
        size = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(content):
                written += os.write(self._file, content[written:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise describe_os_error(error, self._path, "write") from None

    def write_start(self, line: Json, counts: Callable[[LogLine], bool]) -> None:
        """Write a line, and take out those before it that don't count any more: both, or neither.

        Raises UserError, as for a full disk.
        """
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        rows = content.splitlines(keepends=True)
        kept = [row for row in rows if (known := parse_line(row)) is None or counts(known)]
        if len(kept) == len(rows):
            self.write(line)
            return
        with atomic_write(self._path) as file:
            file.write(b"".join([*kept, _row(line)]))
        file_before, self._file = self._file, os.open(self._path, os.O_RDWR | os.O_APPEND)
        os.close(file_before)

    def close(self) -> None:
        """Close the log and release its lock."""
        os.close(self._file)
        self._unlock()

    def _read_and_mend(self) -> tuple[list[LogLine], int]:
        """The lines; and make the log end with a whole one, so that the next one starts on its own."""
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        before, _, tail = content.rpartition(b"\n")
        if tail and parse_object(tail) is not None:
            os.write(self._file, b"\n")
        elif tail:
            os.ftruncate(self._file, len(before) + 1 if b"\n" in content else 0)
        return parse_log(content)

    def _unlock(self) -> None:
        # Removed while it is held: whoever locks it next checks that the file is still there.
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        os.close(self._lock)


def _row(line: Json) -> bytes:
    return json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _locked(path: Path) -> int:
    """A descriptor that holds the lock until it is closed. Raises OSError, and UserError when it is in use."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock_for_process(lock)
        except (BlockingIOError, PermissionError):
            os.close(lock)
            raise UserError(
                f"{path.parent} is in use by another process: wait for it or choose another folder"
            ) from None
        except OSError:
            return lock  # some network file systems know no locks
        try:
            if os.stat(path).st_ino == os.fstat(lock).st_ino:
                return lock
        except FileNotFoundError:
            pass  # its holder has just released it
        os.close(lock)


def refuse_taken(folder: Path) -> None:
    """Raises UserError where the folder holds the log of a run or of a stage, or checkpoints.

    An empty log is left by a run that failed before it began; its name is free.
    """
    try:
        logs = [folder / LOG, *(stage / LOG for stage in stages_with(folder, LOG))]
        taken = any(log.exists() and log.stat().st_size > 0 for log in logs) or bool(checkpoints_of(folder))
    except OSError as error:
        raise describe_os_error(error, folder, "look into") from None
    if taken:
        raise UserError(
            f"{folder} holds a run already: choose another --logging.name, or resume it with "
            f"--training.resume={folder}"
        )


def discard_empty(folder: Path) -> None:
    """Take back a folder in which nothing could be written."""
    with contextlib.suppress(OSError):
        if (folder / LOG).stat().st_size == 0:
            (folder / LOG).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
