"""data.resident: whether the devices hold the training file, whole or in parts; all ranks decide alike.

Each rank says how much of its device is free, and the least counts. Where the whole set fits, every rank holds it, and
nothing else changes, the order least of all. With data.resident=on, where only a part for each rank fits, each holds
its own and draws from it (engine.data.sampling.order.in_parts). That is another order, so a run keeps it: a checkpoint
says in how many parts its order draws, and a resumed run follows, whatever its devices hold then.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.config.train.train_config import TrainConfig
from engine.data.beton.reader import Beton
from engine.data.loading.delivery import is_packable
from engine.data.loading.resident import ResidentData
from engine.data.sampling.order import held_out, part_numbers
from engine.devices import abilities, is_cuda, release_memory
from engine.devices import free_memory as free_memory_of
from engine.errors import UserError
from engine.limits import free_memory
from engine.train.ranks.group import Ranks

# Kept for the training itself: so much of a GPU's memory, and of the memory that is free on a CPU.
_GPU_RESERVE = 1 / 3
_CPU_RESERVE = 1 / 10


@dataclass(frozen=True)
class Residence:
    """What this rank's device is to hold of the training data, None for nothing; in how many parts the order draws."""

    data: ResidentData | None
    order_parts: int


def find_residence(config: TrainConfig, ranks: Ranks, beton: Beton, order_parts: int = 0) -> Residence:
    """Decide by data.resident, and take the devices' memory; nothing is copied yet. Every rank has to call this.

    `order_parts` is what the order of a resumed run has; 0: a new run. Raises UserError where data.resident=on can't
    be.
    """
    apart = Residence(None, order_parts or 1)
    if config.data.resident != "on" and not _is_of_use(config, ranks, beton):
        return apart
    if not is_packable(beton):
        raise UserError(
            f"data.resident=on: {beton.path} stores {beton.storage} images, of which a device can't cut crops: convert "
            "with --output.format=yuv420, or use data.resident=auto"
        )
    numbers = numbers_of_parts(config, beton.num_samples, ranks.world)
    sizes = beton.sizes[numbers >= 0].astype(np.int64)
    part = int(np.bincount(numbers[numbers >= 0], sizes, ranks.world).max())
    free, kept = min(ranks.all_say(room(ranks)))
    whole = int(sizes.sum()) <= free
    # Another order than without: only where it was asked for. A balance draws from all images of a class, and page-wise
    # order from the pages of its window.
    plain = config.data.balance == "none" and config.data.order == "random"
    may_part = config.data.resident == "on" and plain
    if whole or (may_part and order_parts in (0, ranks.world) and part <= free):
        data = _taken(ranks, beton, np.flatnonzero(numbers >= 0 if whole else numbers == ranks.rank))
        if data is not None:
            return Residence(data, order_parts or (1 if whole else ranks.world))
    why = (
        f"{beton.path} takes {_gb(int(sizes.sum()))} of each device"
        + (f", or {_gb(part)} in {ranks.world} parts" if may_part and ranks.world > 1 else "")
        + f", and {_gb(free)} are free there beside {_gb(kept)} for the training itself"
    )
    if config.data.resident == "on":
        raise UserError(
            f"data.resident=on: {why}: use data.resident=auto, which packs crops on the CPU then, convert with a "
            "smaller --output.short_side, or use more devices, each of which holds a part"
        )
    if ranks.main:
        print(f"note: {why}: crops are packed on the CPU (data.resident=auto)", flush=True)
    return apart


def numbers_of_parts(config: TrainConfig, num_samples: int, parts: int) -> NDArray[np.int64]:
    """The part of each training image, and -1 for those held out, int64 (num_samples,)."""
    held = held_out(num_samples, config.data.holdout, config.training.seed)
    return part_numbers(num_samples, held, parts=parts, seed=config.training.seed)


def room(ranks: Ranks) -> tuple[int, int]:
    """Bytes that data may take of this rank's device, and those kept for the training."""
    # What earlier data of this process have left, as of an earlier stage.
    release_memory(ranks.device)
    if memory := free_memory_of(ranks.device):
        free, total = memory
        kept = int(_GPU_RESERVE * total)
    else:
        free = free_memory() // ranks.local_world
        kept = int(_CPU_RESERVE * free)
    return max(0, free - kept), kept


def _is_of_use(config: TrainConfig, ranks: Ranks, beton: Beton) -> bool:
    """Whether data.resident=auto tries: on a GPU that would get packed crops anyway, of more than a few batches."""
    data = config.data
    return (
        data.resident == "auto"
        and is_cuda(ranks.device)
        and data.decoder != "cpu"
        and not data.replay
        and is_packable(beton)
    )


def _taken(ranks: Ranks, beton: Beton, samples: NDArray[np.int64]) -> ResidentData | None:
    """The memory for these samples' records; None on all ranks where one of them has none in a single piece."""
    try:
        there = ranks.device if abilities(ranks.device).finishes else torch.device("cpu")
        data = ResidentData(beton, samples, there, shown=ranks.main)
    except RuntimeError:
        data = None
    return data if all(ranks.all_say(data is not None)) else None


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
