"""Threads that decode or pack a batch in slices, without the GIL, and say which of its samples can't be used.

Slices are taken as threads become free; because crops and order are pure functions, neither their number nor
their timing shows in the result.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.checksum import crc32
from engine.data.beton.mapping import Mapping
from engine.data.beton.reader import Beton
from engine.data.decode.batch import (
    BAD_CHECKSUM,
    BAD_JPEG,
    BAD_RECORD,
    OK,
    REASONS,
    UNKNOWN_MODE,
    WRONG_SIZE,
    DecodeBatch,
)
from engine.data.decode.workspace import Workspace
from engine.data.loading.meters import PoolMeter, ThreadMeter
from engine.data.native.library import library
from engine.data.sampling.crops import HEIGHT, LEFT, TOP, WIDTH, CenterCrop, CropLaw, ResizeThenCrop
from engine.data.sampling.order import samples_of
from engine.data.storage.formats import all_formats, of_mode
from engine.data.storage.packing import copy_crops, plan_crops
from engine.data.storage.storage_format import StorageFormat

# Slices per thread and batch: enough that one slow slice does not leave the other threads idle for long. A batch is
# packed in a millisecond or two, of which each slice costs some hundredths.
_DECODE_SLICES, _PACK_SLICES = 4, 2

_Slice = Callable[[], None]


@dataclass(frozen=True)
class Bad:
    """A sample that can't be used: its row in the batch, and a line that says which it is, why, and what to do."""

    row: int
    message: str


class DecodePool:
    """Decodes batches of one `.beton`. `close()` ends its threads.

    Batches are asked for as views (order.py): the sample is what is decoded, the view what its crop is drawn for.

    `verify` says when a record's checksum is compared, where the file has checksums: the first time that this pool
    uses the record (first-epoch), each time, or never. `portable` does without the C library where there is one.
    """

    def __init__(
        self, beton: Beton, workers: int, verify: str = "first-epoch", portable: bool = False
    ) -> None:
        self.beton, self.workers = beton, workers
        self._native = None if portable else library()
        self._mapping = Mapping(beton, self._native)
        self._columns = {
            "offsets": beton.images["data_ptr"].astype(np.int64),
            "sizes": beton.sizes.astype(np.int64),
            "heights": beton.images["height"].astype(np.int64),
            "widths": beton.images["width"].astype(np.int64),
        }
        self._modes = np.ascontiguousarray(beton.images["mode"])
        self._verify = verify if beton.checksums is not None else "never"
        self._verified = np.full(beton.num_samples, self._verify == "never")
        self._local = threading.local()
        self.meter = PoolMeter()
        # One fewer than there are workers: the caller is one of them.
        self._threads = ThreadPoolExecutor(max(1, workers - 1), thread_name_prefix="decode")

    @property
    def memory(self) -> NDArray[np.uint8]:
        """The file's bytes, mapped."""
        return self._mapping.memory

    @property
    def descriptor(self) -> int:
        """The open file, for reads beside the map; the pool's."""
        return self._mapping.descriptor

    def decode(self, views: NDArray[np.int64], crop: CropLaw, out: NDArray[np.uint8]) -> list[Bad]:
        """Fill out, uint8 of shape (len(views), resolution, resolution, 3) in C order; returns what can't be used.

        Rows of such samples hold anything. Raises UserError when the file itself fails, IndexError for a sample
        that it does not have.
        """
        self._thread_meter().begin()
        views, ids = self._checked(views)
        square = out.ndim == 4 and out.shape == (len(ids), out.shape[1], out.shape[1], 3)
        if not square or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"{len(ids)} images can't be decoded into {out.dtype} of shape {out.shape}")
        boxes = self._boxes(views, ids, crop)
        columns = {name: column[ids] for name, column in self._columns.items()}
        windows = boxes[:, :4].astype(np.float64)
        if isinstance(crop, ResizeThenCrop):
            windows = crop.windows(columns["heights"], columns["widths"])
        batch = DecodeBatch(
            memory=self.memory,
            **columns,
            boxes=boxes,
            windows=windows,
            out=out,
            status=np.full(len(ids), UNKNOWN_MODE, np.uint8),
            # What is measured with a centre crop should be what Pillow's pixels would give.
            exact=isinstance(crop, CenterCrop | ResizeThenCrop),
        )
        modes = self._modes[ids]
        self.check_file()
        work: deque[_Slice] = deque()
        for form in all_formats():

            def task(part: NDArray[np.int64], form: StorageFormat = form) -> None:
                form.decode(batch, self._sound(ids, part, batch.status), self._workspace())

            work += self._slices(task, np.flatnonzero(modes == form.mode), _DECODE_SLICES)
        self._do(work)
        return self.bad(ids, batch.status)

    def pack(
        self, views: NDArray[np.int64], crop: CropLaw, take: Callable[[int], NDArray[np.uint8]]
    ) -> tuple[NDArray[np.int64], list[Bad]]:
        """Copy the crops' bytes into the buffer that `take` gives for a number of bytes.

        Returns the geometry (engine.data.storage.packing) and what can't be used. Every sample of the file must be
        stored in one format, whose crops can be packed. Raises as `decode` does.
        """
        self._thread_meter().begin()
        views, ids = self._checked(views)
        boxes = self._boxes(views, ids, crop)
        # Any sample's: there may be none in this batch.
        mode = int(self._modes[0])
        geometry, size = plan_crops(boxes, mode)
        buffer = take(size)
        status = np.full(len(ids), OK, np.uint8)
        self.check_file()

        def task(part: NDArray[np.int64]) -> None:
            self._sound(ids, part, status)
            first, behind = int(part[0]), int(part[-1]) + 1
            copy_crops(
                *(self.memory, self.beton.images, self._columns["sizes"], ids, boxes, geometry, mode),
                *(first, behind, buffer, status),
            )

        self._do(deque(self._slices(task, np.arange(len(ids)), _PACK_SLICES)))
        return geometry, self.bad(ids, status)

    def crops(self, views: NDArray[np.int64], crop: CropLaw) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The views' samples and their crops' boxes, for records that lie elsewhere. Raises as `decode` does."""
        self._thread_meter().begin()
        views, ids = self._checked(views)
        boxes = self._boxes(views, ids, crop)
        self.meter.add(self._thread_meter().end())
        return ids, boxes

    def sort_out(
        self, views: NDArray[np.int64], crop: CropLaw, fits: Callable[[int], bool]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
        """The views' samples, their crops (n, 5), and for which of them the record is what was written and `fits` says
        yes of the sample. It is asked in the pool's threads. Raises as `decode` does.
        """
        self._thread_meter().begin()
        views, ids = self._checked(views)
        boxes = self._boxes(views, ids, crop)
        status = np.full(len(ids), BAD_RECORD, np.uint8)
        self.check_file()

        def task(part: NDArray[np.int64]) -> None:
            for row in self._sound(ids, part, status).tolist():
                status[row] = OK if fits(int(ids[row])) else BAD_RECORD

        self._do(deque(self._slices(task, np.arange(len(ids)), _DECODE_SLICES)))
        return ids, boxes, status == OK

    def record(self, sample: int) -> NDArray[np.uint8]:
        """The stored bytes of one image, mapped."""
        start = int(self._columns["offsets"][sample])
        return self.memory[start : start + int(self._columns["sizes"][sample])]

    @property
    def verifies(self) -> bool:
        """Whether records are compared with checksums before they are used."""
        return self._verify != "never"

    def _checked(self, views: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The views and their samples. The kernels read where they are told to; what they are told is checked here,
        and given one layout."""
        views = np.ascontiguousarray(views, np.int64)
        ids = samples_of(views)
        if len(ids) and not (views.min() >= 0 and ids.max() < self.beton.num_samples):
            raise IndexError(
                f"{self.beton.path} has samples 0 to {self.beton.num_samples - 1}; asked for "
                f"{views.min()} to {views.max()}"
            )
        return views, ids

    def _boxes(self, views: NDArray[np.int64], ids: NDArray[np.int64], crop: CropLaw) -> NDArray[np.int32]:
        heights, widths = self._columns["heights"][ids], self._columns["widths"][ids]
        boxes = np.ascontiguousarray(crop.boxes(views, heights, widths), np.int32)
        top, left, height, width = (boxes[:, column] for column in (TOP, LEFT, HEIGHT, WIDTH))
        # Without a sum of two int32, which may wrap around.
        outside = (top < 0) | (left < 0) | (top > heights - height) | (left > widths - width)
        if (outside | (height < 1) | (width < 1)).any():
            raise ValueError(f"{crop} cuts outside the image")
        return boxes

    def _slices(
        self, task: Callable[[NDArray[np.int64]], None], rows: NDArray[np.int64], per_thread: int
    ) -> list[_Slice]:
        # For a single thread one is enough.
        count = self.workers * per_thread if self.workers > 1 else 1
        step = max(1, -(-len(rows) // count))
        return [partial(task, rows[start : start + step]) for start in range(0, len(rows), step)]

    def _do(self, work: deque[_Slice]) -> None:
        """All of the work, by the pool's threads and this one, which would only wait else.

        This one is measured from where its batch began.
        """

        def drain() -> None:
            # popleft hands out each slice once, whoever asks.
            while work:
                try:
                    task = work.popleft()
                except IndexError:
                    return
                task()

        def measured() -> None:
            self._thread_meter().begin()
            try:
                drain()
            finally:
                self.meter.add(self._thread_meter().end())

        helpers = [self._threads.submit(measured) for _ in range(min(self.workers, len(work)) - 1)]
        try:
            drain()
        finally:
            self.meter.add(self._thread_meter().end())
            # Also when one part fails: none may still write to the batch when this returns.
            wait(helpers)
        for helper in helpers:
            helper.result()
        self.check_file()

    def check_file(self) -> None:
        """Raise UserError when the file has changed, or a read of it has failed."""
        if self._mapping.check():
            # Written again, with the same checksums: whether that is true of the records is not known yet.
            self._verified[:] = self._verify == "never"

    def _sound(
        self, ids: NDArray[np.int64], rows: NDArray[np.int64], status: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Those of the rows whose records are what was written, as far as that is to be verified now."""
        checksums = self.beton.checksums
        if checksums is None or self._verify == "never":
            return rows
        unknown = rows if self._verify == "always" else rows[~self._verified[ids[rows]]]
        for row in unknown:
            start, size = int(self._columns["offsets"][ids[row]]), int(self._columns["sizes"][ids[row]])
            same = crc32(self.memory[start : start + size]) == checksums[ids[row]]
            self._verified[ids[row]] = same
            if not same:
                status[row] = BAD_CHECKSUM
        return rows[status[rows] != BAD_CHECKSUM] if len(unknown) else rows

    def _workspace(self) -> Workspace:
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace(self._native)
        workspace: Workspace = self._local.workspace
        return workspace

    def _thread_meter(self) -> ThreadMeter:
        if not hasattr(self._local, "meter"):
            self._local.meter = ThreadMeter()
        meter: ThreadMeter = self._local.meter
        return meter

    def bad(self, ids: NDArray[np.int64], status: NDArray[np.uint8]) -> list[Bad]:
        """Those of the samples whose `status` (len(ids),) is not OK."""
        return [
            Bad(int(row), self._message(int(ids[row]), int(status[row])))
            for row in np.flatnonzero(status != OK)
        ]

    def _message(self, sample: int, status: int) -> str:
        reason = REASONS[status]
        if status == WRONG_SIZE:
            reason = of_mode(int(self._modes[sample])).wrong_size_reason
        if status == BAD_JPEG:
            reason += self._jpeg_message(sample)
        manifest = self.beton.manifest
        name = f" ({manifest.ids[sample]})" if manifest else ""
        return (
            f"{self.beton.path}: sample {sample}{name} can't be used: {reason}; write the file again from its "
            "source, or leave such samples out with --data.corrupt=skip"
        )

    def _jpeg_message(self, sample: int) -> str:
        """libjpeg-turbo's own words, in brackets: the sample is decoded once more, alone and in this thread.

        Empty where that goes well, as when only a crop showed the damage, or a disk has failed but once.
        """
        workspace = Workspace(self._native)
        height, width = (int(self._columns[name][sample]) for name in ("heights", "widths"))
        batch = DecodeBatch(
            memory=self.memory,
            **{name: column[sample : sample + 1] for name, column in self._columns.items()},
            boxes=np.array([[0, 0, height, width, 0]], np.int32),
            windows=np.array([[0, 0, height, width]], np.float64),
            out=np.empty((1, 8, 8, 3), np.uint8),
            status=np.empty(1, np.uint8),
            exact=False,
        )
        of_mode(int(self._modes[sample])).decode(batch, np.zeros(1, np.int64), workspace)
        return f" ({workspace.jpeg_message()})" if batch.status[0] == BAD_JPEG else ""

    def close(self) -> None:
        """End the threads; work in progress is finished first."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._mapping.close()
