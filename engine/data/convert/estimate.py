"""Size on disk and time of a conversion, estimated from a sample of its images before it begins.

Afterwards: where its time went (reading, encoding, writing), and which of them was the limit.
"""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.convert.chunk import Records, make_tasks
from engine.data.convert.conversion_plan import Plan
from engine.data.convert.record import RecordSettings
from engine.data.convert.workers import Encoders
from engine.errors import UserError
from engine.progress import human_bytes, human_time

SAMPLED = 64
# Below this, encoding the sample takes as long as the conversion.
LEAST_IMAGES = 1000

_SAMPLED_CHUNK = 4
_LEAST_SECONDS = 60
# Metadata 24, allocation table 24, checksum 4, and about what an id and a number take in the compressed manifest.
_TABLES_PER_IMAGE = 62


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one average image."""

    bytes: float
    """Of its record and its part of the tables: what it takes on disk, where the unused ends of pages take nothing."""
    error: float
    """Relative: bytes x (1 +- error) holds the true mean with a confidence of about 95%."""
    seconds: float
    """That a worker spends on it once the source is open."""

    def check(self, folder: Path, images: int, left: int, there: int, workers: int) -> str:
        """The line printed before `left` of `images` are converted: size, and time where that is a minute or more.

        `there` bytes of the files are on the disk already. Raises UserError when the disk can't hold the rest.
        """
        total, free = self.bytes * images, shutil.disk_usage(folder).free
        low, high = total * (1 - self.error), total * (1 + self.error)
        sizes = f"about {human_bytes(total)} ({human_bytes(low)} to {human_bytes(high)})"
        if low - there > free:
            raise UserError(
                f"{folder} has only {human_bytes(free)} free, and the files need {sizes}: free some space, choose "
                "another --output.folder, or make the images smaller (see --help)"
            )
        short = "; they may not fit" if high - there > free else ""
        text = (
            f"{images:,} images need {sizes} in {folder}, where {human_bytes(free)} are free{short}; {left:,} of "
            "them are left to convert"
        )
        seconds = self.seconds * left / workers
        # Below that the sample says too little, and starting the workers counts as much.
        if seconds >= _LEAST_SECONDS:
            text += f", in about {human_time(seconds)} with {workers} worker{'s' if workers > 1 else ''}"
        return text


def estimate(plans: Sequence[Plan], encoders: Encoders, settings: RecordSettings) -> Estimate:
    """Encode a sample of the plans' images, evenly spread over them. Raises UserError as encoding does.

    The first image of each chunk counts for the size alone: with it a worker may have opened the source (unpacked a
    file, imported a data set), which takes as long for a thousand images as for one.
    """
    total = sum(map(len, plans))
    sizes: list[int] = []
    seconds = 0.0
    count = timed = 0
    for plan in plans:
        share = math.ceil(SAMPLED * len(plan) / total)
        part = plan.part(np.arange(share) * len(plan) // share)
        for records, _ in encoders.encode(make_tasks(part, 0, _SAMPLED_CHUNK, settings)):
            sizes += records.stored["size"].tolist()
            seconds += records.reading + records.encoding - records.first
            timed += records.count - 1
        count += share
    # Images that will be left out take no space.
    taken = np.zeros(count)
    taken[: len(sizes)] = sizes
    mean = max(float(taken.mean()), 1.0)
    error = min(1.0, 2 * float(taken.std()) / mean / math.sqrt(count))
    return Estimate(bytes=mean + _TABLES_PER_IMAGE, error=error, seconds=seconds / max(timed, 1))


@dataclass(kw_only=True)
class Stages:
    """Seconds of each stage (of reading and encoding: of all workers together), and how much was done in them."""

    workers: int
    reading: float = 0
    encoding: float = 0
    writing: float = 0
    total: float = 0
    """Of the clock."""
    images: int = 0
    """Done, stored or not."""
    bytes: int = 0
    """Of all records."""
    warned: int = 0
    """Images at which a library warned of something."""
    warning: str = ""
    """The first of them and what was said."""

    def add(self, records: Records) -> None:
        """A chunk was read and encoded."""
        self.images += records.count
        self.bytes += records.bytes
        self.warned += records.warned
        self.warning = self.warning or records.warning
        self.reading += records.reading
        self.encoding += records.encoding

    @contextmanager
    def is_writing(self) -> Iterator[None]:
        """The block writes."""
        started = time.perf_counter()
        yield
        self.writing += time.perf_counter() - started

    def describe(self) -> str:
        """Such as "limited by encoding: 2 workers busy 97% (reading 5%), writing 9%"."""
        worked = max(self.total * self.workers, 1e-9)
        shares = {"reading": self.reading / worked, "encoding": self.encoding / worked}
        busy, writing = sum(shares.values()), self.writing / max(self.total, 1e-9)
        details = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items())
        # A single worker is this process, which reads, encodes and writes in turn.
        if self.workers == 1 or writing > busy:
            shares["writing"] = writing
        shares["starting and waiting"] = 1 - (busy + writing if self.workers == 1 else max(busy, writing))
        limit = max(shares, key=lambda stage: shares[stage])
        workers = f"{self.workers} workers" if self.workers > 1 else "1 worker"
        return f"limited by {limit}: {workers} busy {busy:.0%} ({details}), writing {writing:.0%} of the time"
