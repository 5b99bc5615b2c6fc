"""data.replay: the first batches of an epoch, loaded once and repeated, so that data can't limit training."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice

from engine.data.loading.loader import Batch
from engine.devices import synchronize


def replayed(loaded: Generator[Batch, None, None], kept: int, count: int) -> Generator[Batch, None, None]:
    """`count` batches, the first `kept` of `loaded` in turn. They are complete on the device when this returns.

    Each is yielded as a copy, because augmentations change images in place.
    """
    with closing(loaded):
        made = list(islice(loaded, kept))
    for device in {batch.images.device for batch in made}:
        synchronize(device)
    return _in_turn(made, count)


def _in_turn(made: list[Batch], count: int) -> Generator[Batch, None, None]:
    for number in range(count):
        batch = made[number % len(made)]
        yield replace(batch, images=batch.images.clone())
