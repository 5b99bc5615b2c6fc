"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine.errors import UserError, describe_os_error

# What the system says of a write to an open file; such an error carries no file name.
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}

# Of file systems that know no locks: there the user has to see to it.
_NO_LOCKS = {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` only when the block ends without an error.

    Until then it lies beside it as `<name>.partial-<pid>`; an error removes that file and a killed process
    leaves it, never `path`, behind. Raises UserError for a full disk, an unwritable folder and the like; an
    error that the block meets elsewhere passes as it is.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with told_of_writing(path, partial):
        try:
            with open(partial, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        except BaseException:
            # Where the file could not even be made (a part of the path is a file, a name too long), neither can this.
            with suppress(OSError):
                partial.unlink()
            raise


@contextmanager
def sole_write(path: Path) -> Iterator[BinaryIO]:
    """As `atomic_write`, for large files: whatever kills the process, at most one file is left of all attempts.

    Until it is whole it lies beside `path` as `<name>.partial-copy`, locked; one that a killed process left is emptied
    before the block begins, and that is said. Raises UserError also when another process is at it.
    """
    partial = path.with_name(f"{path.name}.partial-copy")
    with told_of_writing(path, partial), _open_alone(path, partial) as file:
        try:
            if file.seek(0, os.SEEK_END):
                print(f"{partial} was left by a process that was killed: it is written anew", flush=True)
                file.truncate(0)
            file.seek(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        sync_folder(path.parent)


def _open_alone(path: Path, partial: Path) -> BinaryIO:
    try:
        return open_locked(partial)
    except BlockingIOError:
        raise UserError(
            f"another process is writing {path}: wait for its end, or choose another name"
        ) from None


def open_locked(path: Path) -> BinaryIO:
    """The file for reading and writing, made if missing, as it is, and locked (flock) until it is closed.

    Raises BlockingIOError when another process has it.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        # Whoever had the lock may have removed or renamed the file before giving it back.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()


@contextmanager
def told_of_writing(path: Path, *others: Path) -> Iterator[None]:
    """Make one line, a UserError that names `path`, of a system error of writing it or one of `others`.

    An error that has to do with another file, or not with writing, passes as it is.
    """
    try:
        yield
    except OSError as error:
        of_ours = str(error.filename) in map(str, (path, path.parent, *others))
        if of_ours or (error.filename is None and error.errno in _OF_WRITING):
            raise describe_os_error(error, path, "write") from None
        raise


def sync_folder(folder: Path) -> None:
    """Make new names in it survive a power cut, where the system and the folder's mode allow it."""
    if not os.access(folder, os.R_OK):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no sync of a folder; the file itself is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
