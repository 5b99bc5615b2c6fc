"""Files that are either whole or absent: written under a temporary name, synced, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import describe_os_error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` only when the block ends without an error.

    Until then it lies beside it as `<name>.partial-<pid>`; an error removes that file and a killed process leaves
    it, never `path`, behind. Raises UserError for a full disk, an unwritable folder and the like.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.filename not in (None, str(partial), str(path), partial, path):
            raise
        raise describe_os_error(error, path, "write") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
