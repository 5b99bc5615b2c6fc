"""Checks that a file's records are as they were written: by their checksums.

In a file without checksums, records in which decoding shows damage (JPEGs) are decoded instead.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.bulk_reader import RecordReader, Stretch
from engine.data.beton.reader import Beton
from engine.data.decode.batch import BAD_JPEG, OK, REASONS, DecodeBatch
from engine.data.decode.workspace import Workspace
from engine.data.native.library import library
from engine.data.storage.formats import all_formats, of_mode
from engine.progress import Progress

_CHANGED = "its bytes have changed since they were written (wrong checksum)"


@dataclass(frozen=True, order=True)
class BadRecord:
    """A record that can't be used, and why."""

    sample: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found in one file."""

    bad: list[BadRecord]
    """In the samples' order."""
    bytes: int
    """Of all records."""
    gaps: int
    """Bytes between the records, mostly at the ends of pages: nothing reads them, and no checksum covers them."""
    unchecked: int
    """Records of which only the size could be checked: raw ones without a checksum, for example."""
    seconds: float


def verify(beton: Beton) -> Verified:
    """Read every record, in the order in which they lie in the file, and compare its checksum.

    In a file without checksums records in which decoding shows damage are decoded, as for training. Raises UserError
    when the file becomes shorter.
    """
    check = _choose_check(beton)

    def examine(stretch: Stretch) -> tuple[int, int, list[BadRecord]]:
        reasons = dict.fromkeys(np.flatnonzero(stretch.unread).tolist(), "the disk fails to read it")
        reasons = check(stretch) | reasons
        bad = [BadRecord(int(stretch.samples[row]), reason) for row, reason in reasons.items()]
        return len(stretch.samples), int(stretch.sizes.sum()), bad

    bad: list[BadRecord] = []
    done = 0
    in_file_order = np.argsort(beton.images["data_ptr"], kind="stable")
    with (
        Progress(beton.path.name, beton.num_samples, verb="read") as progress,
        RecordReader(beton) as reader,
        closing(reader.examine(in_file_order, examine)) as examined,
    ):
        for count, size, found in examined:
            bad += found
            done += size
            progress.update(count, size=done)
    ends = beton.images["data_ptr"] + beton.sizes
    blind = beton.checksums is None and ~_shows_damage(beton.images)
    return Verified(
        bad=sorted(bad),
        bytes=done,
        gaps=int(ends.max() - beton.images["data_ptr"].min()) - done,
        unchecked=int(np.sum(blind)),
        seconds=progress.seconds,
    )


def _shows_damage(images: NDArray[np.void]) -> NDArray[np.bool_]:
    """Of which images decoding shows damage."""
    return np.isin(images["mode"], [form.mode for form in all_formats() if form.shows_damage])


def _choose_check(beton: Beton) -> Callable[[Stretch], dict[int, str]]:
    """A function, for several threads at a time, that gives the bad rows of a stretch with the reason."""
    if beton.checksums is not None:
        checksums = beton.checksums
        return lambda stretch: dict.fromkeys(
            np.flatnonzero(stretch.checksums() != checksums[stretch.samples]).tolist(), _CHANGED
        )
    return TrialDecoder(beton).bad_rows


# All of an image's data is gone through, however small it becomes.
_RESOLUTION = 8


class TrialDecoder:
    """Decodes as for training; several threads may use it at a time."""

    def __init__(self, beton: Beton) -> None:
        self._images = beton.images
        self._native = library()
        self._local = threading.local()

    def bad_rows(self, stretch: Stretch) -> dict[int, str]:
        """Rows of the stretch that can't be decoded, with the reason. Records in which that shows nothing pass."""
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace(self._native)
        workspace: Workspace = self._local.workspace
        modes = self._images["mode"][stretch.samples]
        batch, shows = self._batch(stretch), _shows_damage(self._images[stretch.samples])
        for form in all_formats():
            form.decode(batch, np.flatnonzero(shows & (modes == form.mode)), workspace)
        reasons = {}
        for row in np.flatnonzero(batch.status != OK).tolist():
            # Once more, since the decoder's own words are about the last one that it failed at.
            of_mode(int(modes[row])).decode(batch, np.array([row]), workspace)
            status = int(batch.status[row])
            words = f" ({workspace.jpeg_message()})" if status == BAD_JPEG else ""
            reasons[row] = REASONS[status] + words
        return reasons

    def _batch(self, stretch: Stretch) -> DecodeBatch:
        """The whole of each image."""
        images = self._images[stretch.samples]
        heights, widths = (images[side].astype(np.int64) for side in ("height", "width"))
        zeros = np.zeros_like(heights)
        return DecodeBatch(
            memory=stretch.data,
            offsets=stretch.offsets,
            sizes=stretch.sizes,
            heights=heights,
            widths=widths,
            boxes=np.stack([zeros, zeros, heights, widths, zeros], axis=1).astype(np.int32),
            out=np.empty((len(images), _RESOLUTION, _RESOLUTION, 3), np.uint8),
            status=np.full(len(images), OK, np.uint8),
        )
