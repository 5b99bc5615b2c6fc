"""The folder of downloaded files: one folder for each content of a URL, shared by all processes of a machine.

    train.beton-1f0c9a52-77d0e3b1/   name, URL, content (size and ETag)
        url                          where it is from
        use                          locked (shared) by everyone who reads it; its time is that of the last use
        lock                         locked by the one process that downloads
        train.beton.partial          of full length from the start; train.beton as soon as it is complete
        pieces.1048576               a byte for each piece: whether it is there
        error                        why the last download ended

Nothing but flock, which ends with its process, says who does what: a kill leaves no mark that would have to be removed.
"""

import errno
import glob
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from engine.data.beton.direct_file import bytes_on_disk
from engine.data.remote.remote_store import Found, shown
from engine.data.sampling.order import PAGE_BYTES
from engine.errors import UserError, describe_os_error
from engine.files import sync_folder, user_cache
from engine.progress import human_bytes
from engine.system import lock, lock_shared

_REMOVED = ".removed-"
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def default_folder() -> Path:
    """Where files are kept unless data.cache_folder says so."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return (user_cache() or Path(tempfile.gettempdir()) / f"imagenet-engine-{user}") / "data"


class Entry:
    """The folder of one content of a URL, in use, so that nobody removes it, from `Cache.entry` until `close`."""

    def __init__(self, cache: "Cache", folder: Path, name: str, url: str, size: int) -> None:
        self.cache, self.folder, self.url, self.size = cache, folder, url, size
        self.path = folder / name
        self.partial = folder / f"{name}.partial"
        self.pieces = folder / f"pieces.{PAGE_BYTES}"
        self._error = folder / "error"
        self._use = self._start_use()
        with suppress(OSError):
            os.utime(self._use)

    def _start_use(self) -> int:
        path = self.folder / "use"
        while True:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                descriptor = _opened(path)
            except FileNotFoundError:
                # Removed in between.
                continue
            except OSError as error:
                raise self.cache.unusable(error) from None
            try:
                lock_shared(descriptor)
                if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except BlockingIOError:
                # Somebody removes it.
                time.sleep(0.05)
            except OSError as error:
                raise self.cache.unusable(error) from None
            os.close(descriptor)

    @property
    def is_complete(self) -> bool:
        """Whether the whole file is there."""
        return self.path.exists()

    @property
    def is_begun(self) -> bool:
        """Whether the file's tables, and the list of its pieces, are there."""
        return self.pieces.exists() and self.partial.exists() and self.partial.stat().st_size == self.size

    def try_lock(self) -> int | None:
        """The right to download, until the descriptor is closed; None while another process has it."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self.cache.unusable(error) from None
        try:
            lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise self.cache.unusable(error) from None
        return descriptor

    def finish(self) -> None:
        """The file is complete and on the disk: give it its name."""
        os.replace(self.partial, self.path)
        sync_folder(self.folder)
        self.pieces.unlink(missing_ok=True)

    def fail(self, why: str) -> None:
        """Tell those who wait for this process why it downloads no more."""
        with suppress(OSError):
            # The time tells it from the same error of an earlier download.
            partial = self._error.with_suffix(".partial")
            partial.write_text(f"{time.time_ns()}\n{why}", encoding="utf-8", errors="backslashreplace")
            os.replace(partial, self._error)

    def error(self) -> tuple[str, str]:
        """When the last failure was noted, and why it was; empty without one."""
        try:
            when, _, why = self._error.read_text(encoding="utf-8").partition("\n")
        except OSError:
            return "", ""
        return when, why

    def close(self) -> None:
        """End of use."""
        if self._use >= 0:
            os.close(self._use)
            self._use = -1


class Cache:
    """The folder of all entries; `limit_gb` is data.cache_gb. Methods raise UserError where it can't be used."""

    def __init__(self, folder: Path, limit_gb: float) -> None:
        self.folder, self._limit_gb = folder, limit_gb

    def entry(self, url: str, found: Found) -> Entry:
        """That of a URL's content as its server has it now. Others of the same URL that nobody uses are removed."""
        name = unquote(shown(url).rpartition("/")[2]) or "file"
        family = f"{name[:60]}-{_digest(shown(url))}"
        entry = Entry(
            self,
            self.folder / f"{family}-{_digest(f'{found.size} {found.tag}')}",
            name,
            shown(url),
            found.size,
        )
        if not (entry.folder / "url").exists():
            with suppress(OSError):
                (entry.folder / "url").write_text(f"{shown(url)}\n", encoding="utf-8")
        for other in self.folder.glob(f"{glob.escape(family)}-*"):
            if other != entry.folder and self._remove(other):
                print(f"note: {shown(url)} has changed: its earlier copy {other} was removed", flush=True)
        return entry

    def make_room(self, entry: Entry) -> None:
        """See to it that there is room for what is missing of `entry`; removes what was not used for longest.

        Raises UserError where that is not enough.
        """
        for left in self.folder.glob(f"{_REMOVED}*"):
            shutil.rmtree(left, ignore_errors=True)
        others = sorted((one for one in self._folders() if one != entry.folder), key=_last_use)
        limit, used = self._limit_gb * 1e9, sum(map(_size, others))
        # First what can't be, for which nothing should be removed.
        while limit and used + entry.size > limit:
            if entry.size > limit or not self._remove_first(others):
                raise UserError(
                    f"data.cache_gb={self._limit_gb:g}: {entry.url} takes {human_bytes(entry.size)}, and others in "
                    f"use take {human_bytes(used)} of {self.folder}: raise data.cache_gb, or pass another "
                    "--data.cache_folder"
                )
            used = sum(map(_size, others))
        missing = entry.size - _on_disk(entry.partial)
        while missing > (free := self._free(others)):
            if missing > free + used or not self._remove_first(others):
                raise UserError(
                    f"data.cache_folder: {entry.url} takes {human_bytes(missing)} more, and {self.folder} has room "
                    f"for {human_bytes(max(0, free))}: free some space, or pass --data.cache_folder on a larger disk"
                )

    def unusable(self, error: OSError) -> UserError:
        """The line for a folder that can't be written, or whose file system has no locks."""
        if error.errno in _READ_ONLY:
            return UserError(
                f"data.cache_folder: {self.folder} can't be written ({error.strerror}): pass "
                "--data.cache_folder with a folder that can"
            )
        if error.errno in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS):
            return UserError(
                f"data.cache_folder: the file system of {self.folder} has no locks: pass --data.cache_folder "
                "on a local disk"
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return UserError(
                f"data.cache_folder: the disk of {self.folder} is full: free some space, pass --data.cache_folder on a "
                "larger one, or lower data.cache_gb"
            )
        return describe_os_error(error, self.folder, "use the data.cache_folder")

    def _folders(self) -> Iterator[Path]:
        yield from (
            path.parent for path in self.folder.glob("*/use") if not path.parent.name.startswith(_REMOVED)
        )

    def _free(self, others: list[Path]) -> int:
        """Free bytes of the disk, without those that other downloads still need."""
        pending = sum(
            one.stat().st_size - _on_disk(one) for folder in others for one in folder.glob("*.partial")
        )
        return shutil.disk_usage(self.folder).free - pending

    def _remove_first(self, others: list[Path]) -> bool:
        """Remove the first that nobody uses, and take it from the list; False where there is none."""
        for folder in others:
            if self._remove(folder):
                print(f"note: {folder} was removed from the cache, to make room", flush=True)
                others.remove(folder)
                return True
        return False

    def _remove(self, folder: Path) -> bool:
        """Remove an entry unless it is in use."""
        try:
            descriptor = os.open(folder / "use", os.O_RDWR)
        except OSError:
            return False
        try:
            lock(descriptor)
            gone = folder.with_name(f"{_REMOVED}{folder.name}-{os.getpid()}")
            os.rename(folder, gone)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        shutil.rmtree(gone, ignore_errors=True)
        return True


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        # Complete files can be read in a folder that can't be written.
        if error.errno not in _READ_ONLY or not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _last_use(folder: Path) -> float:
    with suppress(OSError):
        return (folder / "use").stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    """Bytes that an entry takes in the end."""
    total = 0
    for file in folder.glob("*"):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _on_disk(path: Path) -> int:
    try:
        return bytes_on_disk(path.stat())
    except OSError:
        return 0
