"""An epoch's first batches, made once and then given again and again: what then limits training is not the data."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice

import torch

from engine.data.loading.loader import Batch


def replayed(loaded: Generator[Batch, None, None], kept: int, count: int) -> Generator[Batch, None, None]:
    """`count` batches: the first `kept` of `loaded` in turn. When this returns they lie on the device, finished.

    Each is given as a copy, which whoever gets it may change: augmentations do.
    """
    with closing(loaded):
        made = list(islice(loaded, kept))
    if any(batch.images.is_cuda for batch in made):
        torch.cuda.synchronize()
    return _in_turn(made, count)


def _in_turn(made: list[Batch], count: int) -> Generator[Batch, None, None]:
    for number in range(count):
        batch = made[number % len(made)]
        yield replace(batch, images=batch.images.clone())
