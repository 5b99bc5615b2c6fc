"""data.resident: a file's records in the memory of the device, where crops are cut with no work of the host's.

    file --stretches, read and checked in threads--> chunks, pinned for a GPU --copy--> buffer, record after record

Read with plain reads, once, in the order of the file. A crop is then a row of numbers: where its record begins in the
buffer, and where in the record it is (engine.data.storage.packing.place_crops). On a CPU the buffer is in memory.
"""

from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.beton.bulk_reader import RecordReader, Stretch
from engine.data.beton.reader import Beton
from engine.data.decode.batch import BAD_CHECKSUM, OK, WRONG_SIZE
from engine.data.loading.in_flight import Passing
from engine.data.storage.formats import of_mode
from engine.data.storage.packing import place_crops
from engine.devices import abilities, event, is_gpu
from engine.errors import UserError
from engine.progress import Progress

_CHUNK = 64 * 2**20


class ResidentData:
    """The records of `samples`, ids of a file whose crops can be packed, in one `buffer` (bytes,) on `device`.

    Construction takes the memory, and raises RuntimeError where there is none; `fill` reads the file, and shows its
    progress where `shown`.
    """

    def __init__(
        self, beton: Beton, samples: NDArray[np.int64], device: torch.device, *, shown: bool = True
    ) -> None:
        self._beton, self._shown = beton, shown
        self.filled = False
        self._heights, self._widths = (beton.images[side].astype(np.int64) for side in ("height", "width"))
        self._order = samples[np.argsort(beton.images["data_ptr"][samples], kind="stable")]
        sizes = beton.sizes.astype(np.int64)
        ends = np.cumsum(sizes[self._order])
        self._starts = np.full(beton.num_samples, -1, np.int64)
        self._starts[self._order] = ends - sizes[self._order]
        # The kernel trusts a record to be as long as its image's sides say.
        wrong = of_mode(int(beton.images["mode"][0])).wrong_sizes(self._heights, self._widths, sizes)
        self.status = np.where(wrong, WRONG_SIZE, OK).astype(np.uint8)
        """For each sample of the file OK, or why it can't be used (engine.data.decode.batch)."""
        self.nbytes = int(sizes[samples].sum())
        self.buffer = torch.empty(self.nbytes, dtype=torch.uint8, device=device)

    def fill(self, *, verify: bool) -> None:
        """Read the records, compare their checksums where `verify`, and copy them.

        `status` says which are corrupt. Raises UserError for a file that can't be read, or was changed.
        """
        checksums = self._beton.checksums if verify else None

        def examined(stretch: Stretch) -> NDArray[np.uint8]:
            if stretch.unread.any():
                self._refuse_unread(int(stretch.samples[np.argmax(stretch.unread)]))
            if checksums is not None:
                wrong = stretch.checksums() != checksums[stretch.samples]
                self.status[stretch.samples[wrong]] = BAD_CHECKSUM
            if stretch.sizes.sum() == len(stretch.data):
                return stretch.data
            # Without what lies between them, as at the end of a page.
            records = [np.frombuffer(stretch.record(row), np.uint8) for row in range(len(stretch.samples))]
            return np.concatenate(records)

        where = place_of(self.buffer.device)
        name = f"copying {self._beton.path.name} to {where}"
        upload = _Upload(self.buffer)
        with (
            RecordReader(self._beton) as reader,
            Progress(name, self.nbytes, "bytes", shown=self._shown) as progress,
            closing(reader.examine(self._order, examined)) as found,
        ):
            for data in found:
                upload.put(torch.from_numpy(data))
                progress.update(len(data))
            upload.finish()
        self.filled = True

    def geometry(self, ids: NDArray[np.int64], boxes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where these samples' crops, `boxes` (n, 5), are, int64 (n, 8). Raises IndexError for a sample not here."""
        starts = self._starts[ids]
        if starts.min(initial=0) < 0:
            raise IndexError(f"{self._beton.path}: sample {ids[np.argmin(starts)]} is not resident here")
        return place_crops(starts, self._heights[ids], self._widths[ids], boxes)

    def close(self) -> None:
        """Give the memory back."""
        self.buffer = self.buffer[:0].clone()

    def _refuse_unread(self, sample: int) -> None:
        raise UserError(
            f"{self._beton.path} can't be read at sample {sample}: the disk or the network failed; copy it again, from "
            "a healthy disk"
        )


def place_of(device: torch.device) -> str:
    """Where resident data on this device are, in words."""
    return "the GPU" if is_gpu(device) else "memory"


class _Upload:
    """Fills a buffer from its start, through two chunks in turn: one is filled while the other is copied."""

    def __init__(self, buffer: torch.Tensor) -> None:
        self._buffer, self._sent, self._held = buffer, 0, 0
        size, able = min(_CHUNK, len(buffer)), abilities(buffer.device)
        self._streams = able.streams
        self._chunks = [torch.empty(size, dtype=torch.uint8, pin_memory=able.pinned) for _ in range(2)]
        self._copied: list[Passing | None] = [None, None]

    def put(self, data: torch.Tensor) -> None:
        """Append these bytes."""
        while len(data):
            part = data[: len(self._chunks[0]) - self._held]
            self._chunks[0][self._held : self._held + len(part)] = part
            self._held, data = self._held + len(part), data[len(part) :]
            if self._held == len(self._chunks[0]):
                self._send()

    def finish(self) -> None:
        """Wait until all of it is there."""
        self._send()
        for passing in filter(None, self._copied):
            passing.synchronize()

    def _send(self) -> None:
        behind = self._sent + self._held
        self._buffer[self._sent : behind].copy_(self._chunks[0][: self._held], non_blocking=True)
        if self._streams:
            self._copied[0] = event(self._buffer.device, blocking=True)
        self._sent, self._held = behind, 0
        self._chunks.reverse()
        self._copied.reverse()
        if before := self._copied[0]:
            before.synchronize()
