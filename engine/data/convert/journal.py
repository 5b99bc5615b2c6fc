"""The journal beside an unfinished file, from which an interrupted conversion is resumed.

A journal is a sequence of entries, each with its length and crc32. The first one identifies the conversion
(`fingerprint`: images, settings, versions); each other one lists images that are done, and is written once their
records are on disk. An incomplete entry at the end was cut short by the interruption and is dropped.

Nothing here depends on the time, the machine's paths or the number of workers.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

import engine
from engine.config.write import RulesConfig, WriteConfig
from engine.data.beton.checksum import crc32
from engine.data.convert.chunk import STORED
from engine.data.convert.conversion_plan import Plan
from engine.data.convert.duplicates import digest_of
from engine.data.sources import Source
from engine.data.sources.base import UnusableImageError
from engine.data.storage.jpeg_transcode import encoder_name
from engine.errors import UserError
from engine.files import open_locked

_MAGIC = b"ENGJRNL1"


class UnderWayError(UserError):
    """Another process is writing the file."""


_ENTRY = np.dtype([("crc32", "<u4"), ("head", "<u4"), ("rows", "<u8")])


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was done since the entry before."""

    done: int
    """Images done in all, stored or not."""
    fingerprint: str = ""
    """In the first entry: a digest of everything that decides the file's content, except the rules."""
    offset: int = 0
    """Where the last record ends: bytes of the file that are on disk."""
    rejects: list[tuple[str, str, str]] = field(default_factory=list)
    """Further images that were left out: (source id, kind, reason)."""
    withdrawn: list[int] = field(default_factory=list)
    """Numbers of images that were stored, and turned out to be in conflict with a further one."""
    odd: dict[str, int] = field(default_factory=dict)
    """Kind of odd image -> how many there were in all."""
    rules: dict[str, str] = field(default_factory=dict)
    """RulesConfig, as text, that holds from this entry on."""
    finished: tuple[int, int] | None = None
    """The finished file's size in bytes and its number on its file system: set when nothing is left but renaming."""
    stored: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, STORED))
    """Further records: STORED."""


# Of an entry, what goes into its JSON.
_HEAD = tuple(item.name for item in fields(Entry) if item.name != "stored")


class Journal:
    """The journal at `path`, made if missing, and locked until it is closed.

    Raises UnderWayError when another process has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open_locked(path)

    def entries(self) -> Iterator[Entry]:
        """All whole entries. Afterwards the next one is appended behind them."""
        end = len(_MAGIC)
        self._file.seek(0)
        if self._file.read(end) != _MAGIC:
            return
        while (read := _read_entry(self._file)) is not None:
            end = self._file.tell()
            yield read
        self._file.seek(end)
        self._file.truncate()

    def start(self) -> None:
        """Make it a new one, without an entry."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_MAGIC)

    def append(self, entry: Entry) -> None:
        """Write the entry; it is on disk on return."""
        text = json.dumps({name: getattr(entry, name) for name in _HEAD}).encode("ascii")
        rows = entry.stored.tobytes()
        body = text + rows
        self._file.write(np.array((crc32(body), len(text), len(rows)), _ENTRY).tobytes() + body)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Give the lock back."""
        self._file.close()


def _read_entry(file: BinaryIO) -> Entry | None:
    """The entry that begins here; None where there is none or it is incomplete."""
    data = file.read(_ENTRY.itemsize)
    if len(data) < _ENTRY.itemsize:
        return None
    sizes = np.frombuffer(data, _ENTRY)[0]
    length = int(sizes["head"]) + int(sizes["rows"])
    # The length itself may be damaged.
    if length > os.fstat(file.fileno()).st_size - file.tell():
        return None
    body = file.read(length)
    if crc32(body) != sizes["crc32"]:
        return None
    head = json.loads(body[: sizes["head"]])
    head["rejects"] = [(name, kind, reason) for name, kind, reason in head["rejects"]]
    head["finished"] = tuple(head["finished"]) if head["finished"] else None
    return Entry(**head, stored=np.frombuffer(body, STORED, offset=int(sizes["head"])))


def _open_locked(path: Path) -> BinaryIO:
    try:
        return open_locked(path)
    except BlockingIOError:
        raise UnderWayError(
            f"another conversion is writing {path.name.removesuffix('.partial.journal')} in {path.parent}: wait "
            "until it has ended, or choose another --output.folder"
        ) from None


# The options that decide what is stored; order, shard and license are recorded apart from them, and the others
# (workers, folder, overwrite) change nothing.
_SETTINGS = (
    "format",
    "max_resolution",
    "short_side",
    "jpeg_quality",
    "jpeg_subsampling",
    "jpeg_unchanged",
    "jpeg_check",
    "compress_probability",
    "subset",
    "page_size",
    "seed",
)


def settings(config: WriteConfig) -> dict[str, object]:
    """The options that decide the file's content, by name; those of section source only where they are set."""
    columns = {f"source.{name}": getattr(config.source, name) for name in ("image_column", "label_column")}
    given = {name: value for name, value in columns.items() if value}
    return {name: getattr(config.output, name) for name in _SETTINGS} | given


def rules_as_text(rules: RulesConfig) -> dict[str, str]:
    """Kind of odd image -> its rule."""
    return {kind: str(rule) for kind, rule in dataclasses.asdict(rules).items()}


def versions() -> dict[str, str]:
    """Library -> version, for all that can change a byte of the file.

    Without ffcv where it is not installed: it is needed only where the C decoders are not built.
    """
    found = {
        "encoder": encoder_name(),
        "engine": engine.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }
    with suppress(importlib.metadata.PackageNotFoundError):
        found["ffcv"] = importlib.metadata.version("ffcv")
    return dict(sorted(found.items()))


def fingerprint(plan: Plan, config: WriteConfig) -> str:
    """A digest that differs for plans and settings that make different files; no image is read."""
    state = hashlib.sha256()
    images, output = plan.images, config.output
    facts = [plan.split, images.kind, images.classes, settings(config), output.order, output.shard]
    state.update(json.dumps([*facts, output.license, versions()]).encode("ascii"))
    state.update(plan.numbers.tobytes())
    state.update(plan.modes.tobytes())
    state.update(np.asarray(images.labels, np.int64).tobytes())
    for name, place in zip(images.ids, images.places, strict=True):
        state.update(f"{name}\0{place!r}\0".encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def changed(images: Source, stored: NDArray[np.void]) -> str:
    """The reason not to resume, if one of these stored images (STORED) has changed since; else "".

    Raises UserError when one can't be read any more: a new conversion could not read it either.
    """
    for number, digest in zip(stored["number"].tolist(), stored["digest"], strict=True):
        try:
            if digest_of(images.read(number)) == digest.tobytes():
                continue
        # A PIL image that can't be decoded any more.
        except ValueError:
            pass
        except UnusableImageError as error:
            if error.kind != "oversized":
                raise
        return f"{images.where(number)} has changed since it was converted"
    return ""
