"""Both sides of a case in their processes: do they do the same work, and how fast is each, in turns."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import page_cache
from benchmarks.case import Case
from benchmarks.first_epoch import FirstEpochs
from benchmarks.images import PHOTOS, Images, prepare
from benchmarks.method import Timed, compare, failed, figures
from benchmarks.table import Record
from benchmarks.worker import ContenderError, Worker
from engine.data.beton import open_beton

_COMPARED_IMAGES = 64


class Once:
    """Whether a side gives each image of a file once, found out the first time that it is asked for."""

    def __init__(self, data: Path | None, images: int | None) -> None:
        """`data`, `images`: as --data and --images have them; more images than there are would only be repeats."""
        self._data = data
        self._count = images if images and images <= PHOTOS else None
        self._found: dict[str, bool] = {}

    def __call__(self, case: Case) -> bool:
        """Of both sides. Raises ContenderError."""
        return self._one(case.ours, case, case.open_ours) and self._one(case.peer, case, case.open_peer)

    def _one(self, name: str, case: Case, open_side: Callable[[Mapping[str, Images]], Worker]) -> bool:
        if name not in self._found:
            images = {storage: prepare(self._data, storage, self._count) for storage in set(case.storages)}
            expected = np.sort(open_beton(images[case.storages[0]].beton).labels)
            with open_side(images) as worker:
                self._found[name] = np.array_equal(worker.one_pass(), expected)
        return self._found[name]


def measure(
    case: Case,
    images: Mapping[str, Images],
    *,
    once: Callable[[Case], bool],
    rounds: int,
    seconds: float,
    longest: int,
) -> Record:
    """The measured part of a record, or why there is none; a round has at most `longest` batches."""
    compared = partial(
        compare,
        rounds=rounds,
        seconds=seconds,
        longest=longest,
        compared_images=min(_COMPARED_IMAGES, *(known.num_samples for known in images.values())),
        tell=lambda word: print(f" {word}", end="", flush=True),
    )
    files = [images[storage].files for storage in case.storages]
    try:
        each_once = once(case)
        if case.cache == "warm":
            for read in files:
                page_cache.fill_all(read)
            with case.open_ours(images) as ours, case.open_peer(images) as peer:
                comparison = compared(ours, peer)
        else:
            openers = partial(case.open_ours, images), partial(case.open_peer, images)
            comparison = compared(*(_first(case, *side) for side in zip(openers, files, strict=True)))
    except ContenderError as error:
        print(f" failed: {error}", flush=True)
        return failed(str(error))
    ratio = comparison.ratio
    print(f" -> {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", flush=True)
    return {**figures(comparison), "each_image_once": each_once}


def _first(case: Case, open_worker: Callable[[], Worker], files: Sequence[Path]) -> Timed:
    set_cache = page_cache.fill_all if case.cache == "first" else page_cache.drop_all
    return FirstEpochs(open_worker, partial(set_cache, files))


def passed(record: Record) -> bool:
    """The same work must have been done, and equals come out equal; any other ratio is a finding, not a failure."""
    if record.get("error") or not (record["labels_equal"] and record["each_image_once"]):
        return False
    ratio = record["ratio"]
    return bool(record["peer"] != "self" or ratio["low"] <= 1 <= ratio["high"])
