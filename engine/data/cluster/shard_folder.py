"""The folder of a conversion's shards, on a disk that all machines share or at a URL: all that they know of each other.

conversion.json       how many shards there are, and of what; written last when a conversion is begun
3-of-8.plan           the images of a shard
3-of-8.progress       how far it is
3-of-8.error          why the last attempt at it ended
train.3-of-8.beton    its files, and val's
3-of-8.done           empty, written last: the shard is finished
"""

import json
import pickle
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from engine.data.convert.conversion_plan import Plan, file_name
from engine.data.sources import Split
from engine.errors import UserError
from engine.files import atomic_write

T = TypeVar("T")

SPLITS: tuple[Split, ...] = ("val", "train")

_CONVERSION = "conversion.json"
_MARKS = ("plan", "progress", "error", "done")

# A server may fail for a moment; a conversion of many hours does not end for it.
_WAITS = (1.0, 4.0, 16.0)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How far a shard is: of both splits together."""

    images: int = 0
    """Done, stored or not."""
    bytes: int = 0
    """Of all records."""
    rejected: int = 0
    odd: dict[str, int] = field(default_factory=dict)
    """Kind of odd image -> how many there were."""
    rules: dict[str, str] = field(default_factory=dict)
    """RulesConfig, as text, by which they were converted."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What all attempts at a conversion have in common."""

    shards: int
    images: int
    """Of both splits."""
    options: dict[str, Any]
    """Those that decide the files' content, but for the rules."""
    versions: dict[str, str]


class ShardFolder:
    """The folder at a path or URL, `storage` being fsspec's options for a URL. Cheap to make on any machine.

    All methods raise UserError when the folder can't be read or written.
    """

    def __init__(self, url: str, storage: Mapping[str, Any]) -> None:
        # With its parts it takes a while to import.
        import fsspec

        self.url = url.rstrip("/")
        self.path = None if "://" in url else Path(url).resolve()
        """Where that is a folder of this machine."""
        try:
            self._system, root = fsspec.core.url_to_fs(str(self.path or self.url), **storage)
        # Whatever a file system makes of its options; a missing package names itself.
        except Exception as error:  # noqa: BLE001
            raise UserError(f"run.folder: {url} can't be used: {_line(error)}") from None
        self._root = root.rstrip("/")

    def begun(self) -> Begun | None:
        """What was begun here, if anything."""
        if _CONVERSION not in self._names():
            return None
        try:
            return Begun(**json.loads(self._read(_CONVERSION)))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.url}/{_CONVERSION} can't be read ({_line(error)}): remove the folder to start anew"
            ) from None

    def begin(self, begun: Begun) -> None:
        """The plans are written: note what they are of."""
        self._write(_CONVERSION, json.dumps(asdict(begun), indent=1).encode())

    def write_plan(self, shard: str, plans: Mapping[Split, Plan]) -> None:
        """Note the images of a shard ("3/8")."""
        self._write(_mark(shard, "plan"), zlib.compress(pickle.dumps(dict(plans), protocol=5), level=1))

    def read_plan(self, shard: str) -> dict[Split, Plan]:
        """The images of a shard."""
        plans: dict[Split, Plan] = pickle.loads(zlib.decompress(self._read(_mark(shard, "plan"))))
        return plans

    def state(self) -> dict[str, set[str]]:
        """plan, progress, error, done -> the shards that have such a mark, such as "3/8"."""
        found: dict[str, set[str]] = {mark: set() for mark in _MARKS}
        for name in self._names():
            stem, _, mark = name.rpartition(".")
            if mark in found:
                found[mark].add(stem.replace("-of-", "/"))
        return found

    def report(self, shard: str, tally: Tally) -> None:
        """Note how far a shard is."""
        self._write(_mark(shard, "progress"), json.dumps(asdict(tally)).encode())

    def tally(self, shard: str) -> Tally:
        """How far a shard is."""
        return Tally(**json.loads(self._read(_mark(shard, "progress"))))

    def fail(self, shard: str, why: str) -> None:
        """Note why an attempt at a shard has ended."""
        self._write(_mark(shard, "error"), why.encode("utf-8", "surrogatepass"))

    def error(self, shard: str) -> str:
        """What was noted; it is then forgotten."""
        text = self._read(_mark(shard, "error")).decode("utf-8", "surrogatepass")
        self._remove([_mark(shard, "error")])
        return text

    def is_done(self, shard: str) -> bool:
        """Whether the shard is finished."""
        return _mark(shard, "done") in self._names()

    def finish(self, shard: str, files: Iterable[Path]) -> None:
        """Bring the shard's files here, where they are not, and mark it as finished."""
        if self.path is None:
            for file in files:
                self._ask(partial(self._system.put_file, str(file), f"{self._root}/{file.name}"))
        self._write(_mark(shard, "done"), b"")

    def forget(self, shard: str) -> None:
        """Remove the shard's mark and its files: it is to be converted again."""
        names = [_mark(shard, "done"), *(file_name(split, shard) for split in SPLITS)]
        self._remove([name for name in names if name in self._names()])

    def fetch(self, name: str, to: Path) -> None:
        """Download a file."""
        self._ask(lambda: self._system.get_file(f"{self._root}/{name}", str(to)))

    def remove(self) -> None:
        """Remove the folder's files, the note of what was begun first, and the folder where nothing else is in it."""
        shards = {shard for shards in self.state().values() for shard in shards}
        ours = {_mark(shard, mark) for shard in shards for mark in _MARKS}
        ours |= {file_name(split, shard) for shard in shards for split in SPLITS}
        here = self._names()
        self._remove([name for name in (_CONVERSION, *sorted(ours)) if name in here])
        if self.path is not None and not any(self.path.iterdir()):
            self.path.rmdir()

    def _names(self) -> set[str]:
        def names() -> set[str]:
            self._system.invalidate_cache()
            try:
                return {path.rpartition("/")[2] for path in self._system.ls(self._root, detail=False)}
            except FileNotFoundError:
                return set()

        return self._ask(names)

    def _read(self, name: str) -> bytes:
        return self._ask(lambda: bytes(self._system.cat_file(f"{self._root}/{name}")))

    def _write(self, name: str, data: bytes) -> None:
        if self.path is not None:
            with atomic_write(self.path / name) as file:
                file.write(data)
        else:
            self._ask(lambda: self._system.pipe_file(f"{self._root}/{name}", data))

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._ask(partial(self._system.rm_file, f"{self._root}/{name}"))

    def _ask(self, question: Callable[[], T]) -> T:
        """The answer, in the last resort after some tries."""
        for wait in (*_WAITS, None):
            try:
                return question()
            # Each of fsspec's file systems raises its own errors, those of its network library among them.
            except Exception as error:
                if wait is None or isinstance(error, (FileNotFoundError, PermissionError)) or self.path:
                    raise UserError(
                        f"run.folder: {self.url} can't be read or written: {_line(error)}"
                    ) from error
                time.sleep(wait)
        raise AssertionError


def _mark(shard: str, mark: str) -> str:
    return f"{shard.replace('/', '-of-')}.{mark}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
