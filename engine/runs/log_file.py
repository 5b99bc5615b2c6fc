"""log.jsonl of a run's folder, written by one process at a time: each line is on the disk before the call returns.

Who writes holds a lock by a file of its own, `.lock`: a POSIX lock ends with its process, even when a worker that was
forked lives on, but also when the process closes the locked file anywhere else, and the log is read for its copies.
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Self

from engine.config.stages import stage_folder
from engine.errors import UserError, describe_os_error
from engine.runs.log_reader import Line, parse_line, parse_log
from engine.train.checkpoints import store

LOG_NAME = "log.jsonl"
_LOCK_NAME = ".lock"


class RunLog:
    """A log open for appending, and the lock that comes with it."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, and UserError when another process has it."""
        self._path = folder / LOG_NAME
        self._lock_path = folder / _LOCK_NAME
        self._lock = _locked(self._lock_path)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except BaseException:
            self._give_back()
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
    def go_on(cls, folder: Path) -> tuple[Self, list[Line], int]:
        """Open what is there; the log, its lines, and how many were not whole. Raises UserError where there is none."""
        path = folder / LOG_NAME
        if not path.is_file():
            if store.newest(folder):
                raise UserError(
                    f"training.resume: {path} is gone, the checkpoints are there: `touch {path}` and the run goes on, "
                    f"without what was logged before"
                )
            raise UserError(
                f"training.resume: {folder} is not a run folder (it holds no {LOG_NAME}): check the path"
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

    def write(self, line: Line) -> None:
        """Append one line and wait until the disk has it. Raises UserError, and then nothing of it stays."""
        content = json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n"
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

    def close(self) -> None:
        """Close the log, and let others have it."""
        os.close(self._file)
        self._give_back()

    def _read_and_mend(self) -> tuple[list[Line], int]:
        """The lines; and make the log end with a whole one, so that the next one starts on its own."""
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        before, _, tail = content.rpartition(b"\n")
        if tail and parse_line(tail) is not None:
            os.write(self._file, b"\n")
        elif tail:
            os.ftruncate(self._file, len(before) + 1 if b"\n" in content else 0)
        return parse_log(content)

    def _give_back(self) -> None:
        # Removed while it is held; who waits for it looks whether what it has locked is still there.
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        os.close(self._lock)


def _locked(path: Path) -> int:
    """A descriptor that holds the lock until it is closed. Raises OSError, and UserError when it is in use."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            pass  # its holder has just given it back
        os.close(lock)


def refuse_taken(folder: Path) -> None:
    """Raises UserError where a run, or a stage of one, has been logged in the folder, or has left checkpoints.

    An empty log is left by a run that failed before it began; its name is free.
    """
    try:
        logs = [folder / LOG_NAME, *folder.glob(f"{stage_folder('*')}/{LOG_NAME}")]
        taken = any(log.exists() and log.stat().st_size > 0 for log in logs) or bool(store.newest(folder))
    except OSError as error:
        raise describe_os_error(error, folder, "look into") from None
    if taken:
        raise UserError(
            f"{folder} holds a run already: choose another --logging.name, or go on with it by "
            f"--training.resume={folder}"
        )


def discard_empty(folder: Path) -> None:
    """Take back a folder in which nothing could be written."""
    with contextlib.suppress(OSError):
        if (folder / LOG_NAME).stat().st_size == 0:
            (folder / LOG_NAME).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
