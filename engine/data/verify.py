"""Whether a file's records are still what was written: by their checksums, or by decoding where there are none."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from engine.data import layout
from engine.data.beton import Beton
from engine.data.stretches import ReadProgress, RecordReader, Stretch

_CHANGED = "its bytes are not those that were written (the checksum differs)"


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
    """Records of which only the size could be checked: raw and YUV 4:2:0 ones without a checksum."""
    seconds: float


def verify(beton: Beton) -> Verified:
    """Read every record, in the order in which they lie in the file, and compare its checksum.

    In a file without checksums JPEGs are decoded, as for training. Raises UserError when the file becomes shorter.
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
        ReadProgress(beton.path.name, beton.num_samples) as progress,
        RecordReader(beton) as reader,
        closing(reader.examine(in_file_order, examine)) as examined,
    ):
        for count, size, found in examined:
            bad += found
            done += size
            progress.update(count, done)
    ends = beton.images["data_ptr"] + beton.sizes
    blind = beton.checksums is None and beton.images["mode"] != layout.MODE_JPEG
    return Verified(
        bad=sorted(bad),
        bytes=done,
        gaps=int(ends.max() - beton.images["data_ptr"].min()) - done,
        unchecked=int(np.sum(blind)),
        seconds=progress.seconds,
    )


def _choose_check(beton: Beton) -> Callable[[Stretch], dict[int, str]]:
    """A function, for several threads at a time, that gives the bad rows of a stretch with the reason."""
    if beton.checksums is not None:
        checksums = beton.checksums
        return lambda stretch: dict.fromkeys(
            np.flatnonzero(stretch.checksums() != checksums[stretch.samples]).tolist(), _CHANGED
        )
    # Imported late: decoding brings numba, which takes seconds, and few files are without checksums.
    from engine.data.trial_decoding import TrialDecoder

    return TrialDecoder(beton).bad_rows
