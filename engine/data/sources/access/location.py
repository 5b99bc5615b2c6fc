"""Files and folders on this machine or, through fsspec, anywhere else, in the few words that sources need.

A `Location` is small and picklable: a worker process that gets one opens what it needs by itself and keeps at
most a few files open.
"""

import errno
import glob
import json
import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from engine.config.write import SourceConfig
from engine.data.sources.access.size_bound import check_size, most_bytes
from engine.data.sources.base import UnusableImageError, printable
from engine.errors import UserError, describe_os_error

# What the system says of a path that leads to nothing; of a folder that may not be looked into it says another thing.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

# Errors that concern one file, while those beside it may be sound: not those of a server or mount that is gone.
_OF_ONE_FILE = (
    *_MISSING,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENXIO,
    errno.EIO,
    errno.EBADMSG,
    errno.EUCLEAN,
)


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_folder: bool
    is_broken: bool = False
    """A link that leads to nothing, or to what can't be looked at."""


@dataclass(frozen=True)
class Location(ABC):
    """A file or folder. All its methods raise UserError, in one line, when they fail."""

    path: str

    SCAN_BYTES = 4096
    """How much is worth reading at once on the way from one header to the next."""

    @abstractmethod
    def at(self, path: str) -> "Location":
        """Another path in the same place."""

    @abstractmethod
    def kind(self) -> Literal["file", "folder", "missing"]:
        """What there is, links followed. It fails where that can't be found out, not where there is nothing."""

    @abstractmethod
    def entries(self) -> list[Entry]:
        """What lies in the folder, in any order."""

    @abstractmethod
    def matches(self) -> list["Location"]:
        """The files that the path is a glob pattern of, in any order."""

    @abstractmethod
    def size(self) -> int:
        """Bytes in the file."""

    @abstractmethod
    def read(self) -> bytes:
        """The whole file."""

    @abstractmethod
    def read_range(self, start: int, size: int) -> bytes:
        """`size` bytes from byte `start`, fewer only where the file ends."""

    def __truediv__(self, name: str) -> "Location":
        """The file or folder of this name, or path, in this folder."""
        return self.at(f"{self.path.rstrip('/')}/{name}")

    @property
    def url(self) -> str:
        """What `locate` makes this location of again."""
        return self.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path.rstrip("/"))

    @property
    def parent(self) -> "Location":
        """The folder it lies in."""
        return self.at(os.path.dirname(self.path.rstrip("/")))

    def __str__(self) -> str:
        return printable(self.url)


class LocalPath(Location):
    """A path on this machine."""

    def at(self, path: str) -> "LocalPath":
        return LocalPath(path or ".")

    @property
    def parent(self) -> "LocalPath":
        return self.at(os.path.dirname(os.path.abspath(self.path)))

    @property
    def name(self) -> str:
        return os.path.basename(os.path.abspath(self.path))

    def kind(self) -> Literal["file", "folder", "missing"]:
        try:
            mode = os.stat(self.path).st_mode
        except OSError as error:
            if error.errno in _MISSING:
                return "missing"
            raise describe_os_error(error, str(self), "read") from None
        return "folder" if stat.S_ISDIR(mode) else "file"

    def entries(self) -> list[Entry]:
        try:
            with os.scandir(self.path) as entries:
                return [_entry(one) for one in entries]
        except OSError as error:
            raise describe_os_error(error, str(self), "list") from None

    def matches(self) -> list[Location]:
        return [self.at(path) for path in glob.glob(self.path) if os.path.isfile(path)]

    def size(self) -> int:
        try:
            return os.path.getsize(self.path)
        except OSError as error:
            raise describe_os_error(error, str(self), "read") from None

    def read(self) -> bytes:
        try:
            with open(self.path, "rb", opener=_open) as file:
                check_size(os.fstat(file.fileno()).st_size, str(self))
                return file.read()
        except OSError as error:
            described = describe_os_error(error, str(self), "read")
            raise UnusableImageError(str(described)) if error.errno in _OF_ONE_FILE else described from None

    def read_range(self, start: int, size: int) -> bytes:
        try:
            return os.pread(_descriptor(self.path).number, size, start)
        except OSError as error:
            raise describe_os_error(error, str(self), "read") from None


def _entry(found: os.DirEntry[str]) -> Entry:
    if not found.is_symlink():
        return Entry(found.name, found.is_dir())
    try:
        return Entry(found.name, stat.S_ISDIR(found.stat().st_mode))
    except OSError:
        return Entry(found.name, False, is_broken=True)


def _open(path: str, flags: int) -> int:
    """Open an ordinary file: a pipe that nobody writes into would let the conversion wait for ever."""
    number = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(number).st_mode
    # Of a folder the system's own error says enough.
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        os.close(number)
        raise UnusableImageError(f"{printable(path)} is not an ordinary file but a pipe or device: remove it")
    return number


class _Descriptor:
    """An open file, closed when nobody uses it any more."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = _open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


@lru_cache(maxsize=16)
def _descriptor(path: str) -> _Descriptor:
    return _Descriptor(path)


@dataclass(frozen=True)
class RemotePath(Location):
    """A path in a file system of fsspec's, which finds its own way into other processes."""

    system: Any

    # A request takes as long as reading megabytes.
    SCAN_BYTES = 8 * 2**20

    def at(self, path: str) -> "RemotePath":
        return RemotePath(path, self.system)

    @property
    def url(self) -> str:
        url: str = self.system.unstrip_protocol(self.path)
        return url

    def kind(self) -> Literal["file", "folder", "missing"]:
        try:
            found = self._ask("info")["type"]
        except UserError as error:
            if error.__cause__ is not None and is_missing(error.__cause__):
                return "missing"
            raise
        return "folder" if found == "directory" else "file"

    def entries(self) -> list[Entry]:
        found = self._ask("ls", detail=True)
        # Listings that fsspec keeps would take gigabytes for a million images.
        self.system.invalidate_cache()
        # A server may name the folder itself among its entries.
        here = self.path.rstrip("/")
        every = ((one["name"].rstrip("/"), one["type"]) for one in found)
        return [self._entry(name, kind) for name, kind in every if name != here]

    def _entry(self, path: str, kind: str) -> Entry:
        name = os.path.basename(path)
        if kind in ("directory", "file"):
            return Entry(name, kind == "directory")
        # Such as "other" for each link at a file: URL.
        there = self.at(path).kind()
        return Entry(name, there == "folder", is_broken=there == "missing")

    def matches(self) -> list[Location]:
        return [self.at(path) for path in self._ask("glob")]

    def size(self) -> int:
        size = self._ask("info")["size"]
        if size is None:
            raise UserError(f"cannot read {self}: its server does not say how large it is: download it first")
        return int(size)

    def read(self) -> bytes:
        # To ask for the size first would take as long again as reading.
        most = most_bytes()
        try:
            data = bytes(self._ask("cat_file", **({"start": 0, "end": most + 1} if most else {})))
        except UnusableImageError:
            raise
        except UserError:
            # Of an empty file servers give no range.
            if not most or self.size():
                raise
            return b""
        if 0 < most < len(data):
            check_size(self.size(), str(self))
        return data

    def read_range(self, start: int, size: int) -> bytes:
        return bytes(self._ask("cat_file", start=start, end=start + size)) if size else b""

    def _ask(self, method: str, **options: Any) -> Any:
        try:
            return getattr(self.system, method)(self.path, **options)
        # Each of fsspec's file systems raises its own errors, those of its network library among them.
        except Exception as error:
            raise _unreachable(str(self), error) from error


def _unreachable(url: str, error: Exception) -> UserError:
    if is_missing(error):
        return UnusableImageError(f"cannot read {url}: it does not exist: check the path")
    cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
    reason = " ".join(str(cause).split()) or type(cause).__name__
    return UserError(f"cannot read {url}: {reason}")


def is_missing(error: BaseException) -> bool:
    """Whether nothing is there. Some of fsspec's file systems say so of whatever went wrong, but with its cause."""
    if not isinstance(error, FileNotFoundError):
        return False
    cause = error.__cause__
    return (
        cause is None or isinstance(cause, (FileNotFoundError, LookupError)) or status_of(cause) in (404, 410)
    )


def status_of(error: BaseException) -> int | None:
    """A server's answer, in the words of aiohttp, botocore, huggingface_hub, gcsfs and Azure's library."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    names = ("status", "status_code", "code")
    # One after the other: aiohttp warns of who asks for the last where the first is there.
    found = (getattr(one, name, None) for one in (error, response) for name in names)
    return next((value for value in found if isinstance(value, int)), None)


def locate(config: SourceConfig, path: str = "") -> Location:
    """The location of `path`, or of `config.path`: a URL where it says `://`, else a path on this machine.

    Raises UserError for a URL of a kind that fsspec doesn't know, or whose package is missing, and for options that are
    no JSON object.
    """
    path = path or config.path
    if "://" not in path:
        if config.storage_options and "://" not in config.path:
            raise UserError(
                f"source.storage_options is for URLs, and {printable(path)} is a path: drop the option"
            )
        return LocalPath(path)
    options = _storage_options(config.storage_options)
    # Only here: with its parts it takes a while to import.
    import fsspec

    try:
        system, inner = fsspec.core.url_to_fs(path, **options)
    # Whatever the file system's constructor makes of the options; a missing package names itself.
    except Exception as error:  # noqa: BLE001
        raise UserError(f"cannot open {printable(path)}: {' '.join(str(error).split())}") from None
    return RemotePath(inner, system)


def _storage_options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"source.storage_options is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise UserError('source.storage_options is not a JSON object: pass one such as {"anon": true}')
    return options
