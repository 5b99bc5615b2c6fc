"""What the tests of the loader share: files in every format, an epoch's batches, and guards against hanging."""

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.data.beton.reader import Beton, Storage, open_beton
from engine.data.loading.loader import Batch, Loader
from engine.data.sampling.crops import CropLaw, RandomResizedCrop
from engine.data.sampling.order import train_batches
from engine.data.storage.formats import PROPORTION, all_formats
from tests.data.betons import write_pixels
from tests.data.conftest import photo

CPU = torch.device("cpu")
LAW = RandomResizedCrop(seed=3, epoch=1)
RESOLUTION = 32
COUNT = 48
WATCHDOG_SECONDS = 60

# Each way that a batch can go: how the images are stored, and data.decoder.
WAYS: dict[str, tuple[Storage, str]] = {
    **{form.name: (form.name, "cpu") for form in all_formats()},
    PROPORTION: (PROPORTION, "cpu"),
    **{f"{form.name}-packed": (form.name, "packed") for form in all_formats() if form.packing is not None},
}


def write_photos(folder: Path, storage: Storage, count: int = COUNT) -> Beton:
    """A file of photos of many sizes; the same ones every time."""
    sizes = [(40, 64), (71, 53), (48, 48), (60, 72), (33, 50)]
    return open_beton(write_pixels(folder, [photo(*sizes[seed % 5], seed) for seed in range(count)], storage))


def ids_of(beton: Beton, batch: int = 12) -> list[NDArray[np.int64]]:
    """An epoch's batches of one rank."""
    ids = train_batches(
        beton.num_samples, seed=3, epoch=1, global_batch=batch, accumulation=1, rank=0, world=1
    )
    return list(ids[:, 0])


def load(
    beton: Beton,
    ids: list[NDArray[np.int64]] | None = None,
    resolution: int = RESOLUTION,
    law: CropLaw = LAW,
    **settings: Any,
) -> list[Batch]:
    """All batches of one iteration of a loader of its own."""
    with Loader(beton, device=CPU, **settings) as loader:
        return list(loader.batches(ids_of(beton) if ids is None else ids, resolution, law))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    """Equal to the bit."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.ids, other.ids)


def digest(batches: Iterable[Batch]) -> str:
    """A hash of all that the batches hold."""
    total = hashlib.sha256()
    for batch in batches:
        for part in (batch.images.contiguous().numpy(), batch.labels.numpy(), batch.ids):
            total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()


def guarded(work: Callable[[], None]) -> None:
    """Run `work` in a thread and fail when it hangs, since a test that waits for ever tells nothing."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WATCHDOG_SECONDS)
    if thread.is_alive():
        pytest.fail(f"still waiting after {WATCHDOG_SECONDS} s")
    if errors:
        raise errors[0]


def threads() -> list[str]:
    """The names of the loaders' threads that run now."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith(("producer", "decode", "read-ahead", "windows")))


@dataclass
class Spy:
    """LAW, which notes for which samples it was asked."""

    seen: list[int] = field(default_factory=list)

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """LAW's boxes."""
        self.seen += ids.tolist()
        return LAW.boxes(ids, heights, widths)

    @property
    def law(self) -> CropLaw:
        return cast(CropLaw, self)


class Broken:
    """LAW, which raises for its third batch."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def boxes(self, ids: NDArray[np.int64], heights: NDArray[Any], widths: NDArray[Any]) -> NDArray[np.int32]:
        """LAW's boxes, twice."""
        self.calls += 1
        if self.calls > 2:
            raise self.error
        return LAW.boxes(ids, heights, widths)

    @property
    def law(self) -> CropLaw:
        return cast(CropLaw, self)
