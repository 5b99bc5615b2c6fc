"""Chunks of images: how a plan is cut into them, what a worker process is sent and what it sends back."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config.write import WriteConfig
from engine.data.beton import layout
from engine.data.beton.checksum import crc32
from engine.data.convert.conversion_plan import Plan
from engine.data.convert.duplicates import DIGEST_BYTES, digest_of
from engine.data.convert.record import Outcome, RecordSettings, make_record
from engine.data.decode.library_warnings import library_warnings
from engine.data.sources.access.size_bound import images_bounded
from engine.data.sources.base import Content, Reader, UnusableImageError
from engine.errors import UserError

# A record's metadata: the image's number in the plan of its file, its entry in the file (data_ptr still 0), the
# record's size in bytes and crc32, and the digest of the content that it was made from.
STORED = np.dtype(
    [
        ("number", "<i8"),
        ("image", layout.IMAGE),
        ("size", "<u8"),
        ("crc32", layout.CHECKSUM),
        ("digest", f"V{DIGEST_BYTES}"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chunk of work: which images, and how each is stored. Small enough to be sent to a process."""

    first: int
    """The first image's number in the file's plan."""
    ids: Sequence[str]
    places: Sequence[Any] | NDArray[Any]
    modes: NDArray[np.uint8]
    """The mode of the StorageFormat of each image."""
    reader: Reader
    settings: RecordSettings


@dataclass(frozen=True, kw_only=True)
class Reject:
    """An image that is not stored: the option of RulesConfig, the reason and the image's place, as text."""

    number: int
    kind: str
    reason: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Records:
    """A chunk's result."""

    stored: NDArray[np.void]
    """STORED, one for each record."""
    rejects: tuple[Reject, ...]
    odd: Counter[str]
    """Kind of odd image -> how many there were, stored or not."""
    warned: int
    """Images at which a library warned of something."""
    warning: str
    """The first of them and what was said, or empty."""
    reading: float
    """Seconds."""
    encoding: float
    """Seconds."""
    first: float
    """Seconds of both that the first image took: it may have opened the source in this process, once for all."""

    @property
    def count(self) -> int:
        """Images of the chunk, stored or not."""
        return len(self.stored) + len(self.rejects)

    @property
    def bytes(self) -> int:
        """Of all records together."""
        return int(self.stored["size"].sum())


def encode_chunk(task: Task) -> tuple[Records, list[bytes]]:
    """Read and encode the images of one chunk; the second part is the records themselves.

    Raises UserError for a source that can't be read, and naming an image that fails in a way no rule covers.
    """
    with images_bounded(task.settings.rules), library_warnings() as said:
        return _encode(task, said)


def _encode(task: Task, said: list[str]) -> tuple[Records, list[bytes]]:
    """As `encode_chunk`; `said` grows by what libraries warn of meanwhile."""
    stored = np.zeros(len(task.ids), STORED)
    payload: list[bytes] = []
    rejects: list[Reject] = []
    odd: Counter[str] = Counter()
    heard, warned, warning = 0, 0, ""
    reading, first, started = 0.0, 0.0, time.perf_counter()
    for row, place in enumerate(task.places):
        if row == 1:
            first = time.perf_counter() - started
        number = task.first + row
        outcome, content, seconds = _make(task, row)
        reading += seconds
        if len(said) > heard:
            heard, warned = len(said), warned + 1
            warning = warning or f"{task.reader.where(place)}: {said[0]}"
        odd.update({*outcome.odd, outcome.rejected} - {""})
        if outcome.rejected:
            where = task.reader.where(place)
            rejects.append(Reject(number=number, kind=outcome.rejected, reason=outcome.reason, where=where))
            continue
        record, image = outcome.record, (outcome.mode, outcome.width, outcome.height, 0)
        stored[len(payload)] = (number, image, len(record), crc32(record), digest_of(content))
        payload.append(record)
    took = time.perf_counter() - started
    records = Records(
        stored=stored[: len(payload)],
        rejects=tuple(rejects),
        odd=odd,
        warned=warned,
        warning=warning,
        reading=reading,
        encoding=took - reading,
        first=first if len(task.ids) > 1 else took,
    )
    return records, payload


def _make(task: Task, row: int) -> tuple[Outcome, Content, float]:
    """What becomes of one of the images, its content, and the seconds that reading it took."""
    place, begun = task.places[row], time.perf_counter()
    try:
        content = task.reader.read(place)
        reading = time.perf_counter() - begun
        try:
            return make_record(content, task.ids[row], int(task.modes[row]), task.settings), content, reading
        except UserError as error:
            raise UserError(f"cannot use image {task.reader.where(place)}: {error}") from None
    except UnusableImageError as error:
        reason = str(error).removeprefix(f"cannot read {task.reader.where(place)}: ")
        outcome = Outcome(odd=(error.kind,), rejected=error.kind, reason=reason)
        return outcome, b"", time.perf_counter() - begun
    except MemoryError:
        raise UserError(
            f"cannot use image {task.reader.where(place)}: there is not enough memory for it: pass "
            "--rules.oversized=skip with a lower --rules.max_megabytes or --rules.max_megapixels, or fewer "
            "--output.num_workers"
        ) from None


# Where nothing is known of the images.
USUAL_CHUNK = 16

# A chunk's records together and the time they take: small enough for memory and a quick stop, large enough that
# sending the chunk costs nothing.
_CHUNK_BYTES = 4 * 2**20
_CHUNK_SECONDS = 0.25
_LARGEST_CHUNK = 256


def record_settings(config: WriteConfig) -> RecordSettings:
    """How images become records."""
    output = config.output
    return RecordSettings(
        max_resolution=output.max_resolution,
        short_side=output.short_side,
        jpeg_quality=output.jpeg_quality,
        jpeg_subsampling=output.jpeg_subsampling,
        jpeg_unchanged=output.jpeg_unchanged,
        jpeg_check=output.jpeg_check,
        max_bytes=output.page_size * 2**20,
        rules=config.rules,
    )


def chunk_size(bytes_each: float, seconds_each: float) -> int:
    """How many images of this size, that take so long to encode, make a chunk; it changes nothing in the file."""
    most = min(_CHUNK_BYTES / bytes_each, _CHUNK_SECONDS / max(seconds_each, 1e-9))
    return max(1, min(_LARGEST_CHUNK, int(most)))


def make_tasks(plan: Plan, first: int, chunk: int, settings: RecordSettings) -> Iterator[Task]:
    """The images from number `first` on, `chunk` at a time."""
    images = plan.images
    for begin in range(first, len(plan), chunk):
        here = slice(begin, begin + chunk)
        yield Task(
            first=begin,
            ids=images.ids[here],
            places=images.places[here],
            modes=plan.modes[here],
            reader=images.reader,
            settings=settings,
        )
