"""Our decoders as the loader's producer calls them: engine.data.loading.decode_pool.DecodePool, or its packing."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.sides.decoders.decoder_side import DecoderSide
from benchmarks.sides.task import Task
from engine.data.beton.reader import open_beton
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.sampling.crops import CropLaw


class _Ours:
    def __init__(self, task: Task, how: str) -> None:
        self._pool = DecodePool(open_beton(task.beton), workers=task.cores)
        self._packs = how == "pack"
        self._buffer = np.empty(0, np.uint8)
        self.settings = f"engine.data.loading.decode_pool.DecodePool.{how} with {task.cores} threads"

    def decode(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8] | None:
        if not self._packs:
            return self.finished(ids, law, side)
        _, bad = self._pool.pack(ids, law, self._take)
        _check(bad)
        return None

    def finished(self, ids: NDArray[np.int64], law: CropLaw, side: int) -> NDArray[np.uint8]:
        # As the loader's slots, it keeps its memory.
        out = self._take(len(ids) * side * side * 3).reshape(len(ids), side, side, 3)
        _check(self._pool.decode(ids, law, out))
        return out

    def _take(self, size: int) -> NDArray[np.uint8]:
        if len(self._buffer) < size:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer[:size]


def _check(bad: list[Bad]) -> None:
    if bad:
        raise RuntimeError(bad[0].message)


def open_side(task: Task, how: str) -> DecoderSide:
    """Our decoder of the task's file; `how`: decode to pixels, or pack the crops' bytes as they are stored."""
    return DecoderSide(task, _Ours(task, how))
