"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from engine.errors import describe_os_error

# What the system says of a write to an open file; such an error carries no file name.
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}


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
