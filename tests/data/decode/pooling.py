"""Batches decoded through a pool of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.reader import Beton
from engine.data.loading.decode_pool import Bad, DecodePool
from engine.data.sampling.crops import CenterCrop, CropLaw
from tests.data.conftest import photo

SIDE = 64
COUNT = 8
WHOLE = CenterCrop(ratio=1.0)


def squares() -> list[NDArray[np.uint8]]:
    """COUNT square pictures of SIDE pixels, all different."""
    return [photo(SIDE, SIDE, seed) for seed in range(COUNT)]


def decode(
    beton: Beton,
    ids: Sequence[int],
    law: CropLaw = WHOLE,
    side: int = SIDE,
    *,
    workers: int = 2,
    portable: bool = False,
    verify: str = "never",
) -> tuple[NDArray[np.uint8], list[Bad]]:
    """These samples, cropped by `law` and resized to `side`, and what can't be used."""
    out = np.full((len(ids), side, side, 3), 77, np.uint8)
    pool = DecodePool(beton, workers, verify, portable)
    try:
        return out, pool.decode(np.array(ids, np.int64), law, out)
    finally:
        pool.close()


def pixels(
    beton: Beton, ids: Sequence[int], law: CropLaw = WHOLE, side: int = SIDE, **how: Any
) -> NDArray[np.uint8]:
    """As `decode`, where every sample can be used."""
    out, bad = decode(beton, ids, law, side, **how)
    assert bad == []
    return out
