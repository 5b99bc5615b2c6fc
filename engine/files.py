"""Files that are either complete or absent: written under a temporary name, synced, then renamed."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine.errors import UserError, describe_os_error
from engine.system import lock

# Errors of a write to an open file; they carry no file name.
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}

# Errors of file systems without locks; there the user has to keep two processes apart.
_NO_LOCKS = {errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file, open for writing, that becomes `path` only when the block ends without an error.

    Until then it is `<name>.partial-<pid>` in the same folder. An error removes that file; a killed process leaves
    it behind, but never a part of `path`. Raises UserError for a full disk, an unwritable folder and the like; other
    errors of the block pass unchanged.
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
            # If the file could not be created (a name too long, say), it can't be removed either.
            with suppress(OSError):
                partial.unlink()
            raise


@contextmanager
def sole_write(path: Path) -> Iterator[BinaryIO]:
    """Like `atomic_write`, for large files: however often the process is killed, at most one partial file is left.

    Until it is complete the file is `<name>.partial-copy` in the same folder, locked. One that a killed process left
    is emptied before the block begins, with a line on stdout. Raises UserError also when another process is writing.
    """
    partial = path.with_name(f"{path.name}.partial-copy")
    with told_of_writing(path, partial), _open_alone(path, partial) as file:
        try:
            if file.seek(0, os.SEEK_END):
                print(f"note: {partial} was left by a killed process: writing it again", flush=True)
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
            f"another process is writing {path}: wait until it has finished, or choose another name"
        ) from None


def open_locked(path: Path) -> BinaryIO:
    """The file opened for reading and writing, created if missing, and locked (flock) until it is closed.

    Its content stays. Raises BlockingIOError when another process holds the lock.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            lock(file)
        except BlockingIOError:
            file.close()
            raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        # The process that had the lock may have removed or renamed the file before releasing it.
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
        file.close()


@contextmanager
def told_of_writing(path: Path, *others: Path) -> Iterator[None]:
    """Turn a system error of writing `path` or one of `others` into a UserError that names `path`.

    Errors of other files, and errors that have nothing to do with writing, pass unchanged.
    """
    try:
        yield
    except OSError as error:
        of_ours = str(error.filename) in map(str, (path, path.parent, *others))
        if of_ours or (error.filename is None and error.errno in _OF_WRITING):
            raise describe_os_error(error, path, "write") from None
        raise


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` survive a power cut, as far as the system and the folder's mode allow it."""
    if not os.access(folder, os.R_OK):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems can't sync a folder; the file itself is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def user_cache() -> Path | None:
    """The user's folder for what may be made again, perhaps not there yet; None for a user without a home."""
    # Path.home() would raise there; this "~" stays as it is.
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "imagenet-engine"
    return folder if folder.is_absolute() else None


def library_cache(name: str) -> Path | None:
    """A folder in which a library may keep what it compiles, made if missing.

    In the user's cache, else, as for a user without a home, in the temporary folder; None where neither can be written.
    """
    with suppress(OSError):
        if own := user_cache():
            (own / name).mkdir(parents=True, exist_ok=True)
            if os.access(own / name, os.W_OK):
                return own / name
    with suppress(OSError):
        uid = os.getuid() if hasattr(os, "getuid") else 0
        folder = Path(tempfile.gettempdir()) / f"imagenet-engine-{name}-{uid}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # What lies in another user's folder would be run as code.
        if not hasattr(os, "getuid") or folder.lstat().st_uid == uid:
            return folder
    return None
