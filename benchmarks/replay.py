"""A loader that gives batches which were made before: what then limits training is not the data."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from engine.data.crops import CropLaw
from engine.data.loader import Batch, Batches
from engine.data.meters import DataFigures
from engine.data.order import Windows


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What of a file the trainer asks for where the order is random."""

    num_samples: int


class Replay:
    """Stands in for engine.data.loader.Loader as the trainer uses it: `made` in turn, whatever ids are asked for.

    They are given as they are, time after time: for recipes that leave a batch's images alone, that is without
    augmentations on the device.
    """

    def __init__(self, made: Sequence[Batch], num_samples: int) -> None:
        self.beton = Samples(num_samples=num_samples)
        self.wait_seconds = 0.0
        self.skips = 0
        self.decoder = "replay", "batches that were made before"
        self._made = made
        self._start = 0

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin with that batch."""
        self._start = state["batches"]

    def figures(self) -> DataFigures:
        """None of its time is spent on data."""
        return DataFigures()

    def batches(
        self, ids: Batches, resolution: int, crop: CropLaw, windows: Windows | None = None
    ) -> Generator[Batch, None, None]:
        """One Batch for each array of ids. Raises ValueError where they are not of the size that was asked for."""
        first, self._start = self._start, 0
        for number, asked in enumerate(ids[first:], first):
            batch = self._made[number % len(self._made)]
            if (len(asked), resolution) != (len(batch.images), batch.images.shape[-1]):
                raise ValueError(f"made for {tuple(batch.images.shape)}, not {len(asked)} of {resolution} px")
            yield batch
