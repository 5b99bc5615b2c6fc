"""Compare both sides of a case, each in its own process: first whether they do the same work, then how fast."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.case import Case
from benchmarks.harness.images import file_cache
from benchmarks.harness.images.prepared import PHOTOS, Images, prepare
from benchmarks.harness.method import Comparison, Round, Timed, compare, failed, figures
from benchmarks.harness.processes.worker import SideError, Worker
from benchmarks.records.layouts import Record
from engine.data.beton.reader import open_beton

_COMPARED_IMAGES = 64
# A file of at most this many images is read whole in the measured process; a larger one in another process before.
_PASSED_WHOLE = 4096

_Compare = Callable[[Timed, Timed], Comparison]


class Comparer:
    """Compares both sides of one case after another. Use as a context manager: it owns our side's process.

    It is kept for the next case if our side is the same there. Whether a side delivers each image once is checked the
    first time that it takes part.
    """

    def __init__(self, images: Mapping[str, Images], data: Path | None, count: int | None) -> None:
        """`images`: by storage; `data`, `count`: as --data and --images have them."""
        self._images, self._data = images, data
        # In a file with more images than photos the rest are repeats.
        self._count = count if count and count <= PHOTOS else None
        self._once: dict[str, bool] = {}
        self._ours: Worker | None = None
        self._ours_for: object = None

    def measure(self, case: Case, *, rounds: int, seconds: float, longest: int) -> Record:
        """The measured part of a record, or why there is none; a round has at most `longest` batches."""
        compared = partial(
            compare,
            rounds=rounds,
            seconds=seconds,
            longest=longest,
            compared_images=min(_COMPARED_IMAGES, *(known.num_samples for known in self._images.values())),
            tell=lambda word: print(f" {word}", end="", flush=True),
        )
        try:
            comparison = self._warm(case, compared) if case.cache == "warm" else self._first(case, compared)
        except SideError as error:
            self.close()
            print(f" failed: {error}", flush=True)
            return failed(str(error))
        ratio = comparison.ratio
        print(f" -> {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]", flush=True)
        return {**figures(comparison), "each_image_once": self._once[case.ours] and self._once[case.peer]}

    def _warm(self, case: Case, compared: _Compare) -> Comparison:
        for storage in case.storages:
            file_cache.fill_all(self._images[storage].files)
        ours = self._kept(case)
        with case.open_peer(self._images) as peer:
            for name, worker, storage in zip(
                (case.ours, case.peer), (ours, peer), case.storages, strict=True
            ):
                if name not in self._once and self._images[storage].num_samples <= _PASSED_WHOLE:
                    self._once[name] = _gives_each_once(worker, self._images[storage])
            self._find_out(case)
            return compared(ours, peer)

    def _first(self, case: Case, compared: _Compare) -> Comparison:
        self._find_out(case)
        set_cache = file_cache.fill_all if case.cache == "first" else file_cache.drop_all
        sides = zip((case.open_ours, case.open_peer), case.storages, strict=True)
        return compared(
            *(
                FirstEpochs(partial(open_side, self._images), partial(set_cache, self._images[storage].files))
                for open_side, storage in sides
            )
        )

    def _find_out(self, case: Case) -> None:
        """Check the sides not checked yet: in a new process, on a file of each image once."""
        sides = zip((case.ours, case.peer), (case.open_ours, case.open_peer), case.storages, strict=True)
        for name, open_side, storage in sides:
            if name not in self._once:
                images = prepare(self._data, storage, self._count)
                with open_side({storage: images}) as worker:
                    self._once[name] = _gives_each_once(worker, images)

    def _kept(self, case: Case) -> Worker:
        """Our side's process: the last case's, or a new one."""
        wanted = (case.ours, case.cores, case.resolution, case.min_scale, case.batch, case.form)
        if self._ours is None or self._ours_for != wanted:
            self.close()
            self._ours, self._ours_for = case.open_ours(self._images), wanted
        return self._ours

    def close(self) -> None:
        """End our side's process."""
        if self._ours is not None:
            self._ours.close()
        self._ours = None

    def __enter__(self) -> "Comparer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FirstEpochs:
    """Answers as a Worker does, with a new process for each round, after `prepare` has set the page cache.

    So each timed image is mapped, touched and (ours) checked against its checksum for the first time, as in a run's
    first epoch. Imports and compiling are over before the clock starts.
    """

    def __init__(self, open_worker: Callable[[], Worker], prepare: Callable[[], None]) -> None:
        self._open_worker = open_worker
        self._prepare = prepare
        self._settings = ""

    def round(self, number: int, batches: int) -> Round:
        """Time that many batches, which must not repeat an image."""
        self._prepare()
        with self._open_worker() as worker:
            timed = worker.round(number, batches)
            self._settings = worker.settings()
        return timed

    def settings(self) -> str:
        """How the last round's process was set up."""
        return self._settings

    def centre_crops(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As Worker.centre_crops."""
        with self._open_worker() as worker:
            return worker.centre_crops(count)


def _gives_each_once(worker: Worker, images: Images) -> bool:
    return np.array_equal(worker.one_pass(), np.sort(open_beton(images.beton).labels))


def passed(record: Record) -> bool:
    """Whether both sides did the same work, and equals came out equal; any other ratio is a finding, not a failure."""
    if record.get("error") or not (record["labels_equal"] and record["each_image_once"]):
        return False
    ratio = record["ratio"]
    return bool(record["peer"] != "self" or ratio["low"] <= 1 <= ratio["high"])
