"""The order of samples and their batches: pure functions of (seed, epoch, rank, world).

Global batch k of an epoch is the same set of samples for any number of ranks and any accumulation: one permutation is
cut into global batches, and each of those into (accumulation, rank, position). The permutation sorts counter-based keys
(rng.py), so it is the same for every version of NumPy.

There are two permutations. `epoch_permutation` is fully random, for a file that fits into memory. `page_windows` is for
larger files: the file's pages are shuffled, as many as fit into a window are taken at a time, and samples are shuffled
within the window. So the disk is read once per epoch, page by page, and only the windows in use need memory.

Batches hold views: a view is a sample in one of its repeats, as one number, which is the key of its crop and
augmentations. A sample's first view is its id; only `repeated` and balance.py make
others.

Where each rank holds only its part of the images (data.resident), it draws from that: `part_numbers` cuts the images
into parts at random, once for a run, and `in_parts` makes of either permutation an order whose global batches have
equally many images of each part.

Also `held_out`, the part of a training file that is never trained on (data.holdout).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.data.sampling.rng import sample_keys

PAGE_BYTES = 2**20
"""Bytes of a page in page-wise order. Smaller than a file's own pages (8 MiB and more): in a class-sorted file a page
holds a single class, and a window should hold many. Large enough that reading a page alone is about as fast as reading
it as part of a longer range."""

# A view is repeat x 2^56 + sample: no file has as many samples, and int64 has room for 128 repeats.
_REPEAT_SHIFT = 56
MOST_VIEWS = 2 ** (63 - _REPEAT_SHIFT)

# Separate these keys from each other, and from those of crops.py for the same seed and epoch.
_ORDER_STREAM = 0x6F72646572
_PAGE_STREAM = 0x7061676573
_FILE_STREAM = 0x66696C65
_PART_STREAM = 0x70617274


def epoch_permutation(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The random order of all samples in this epoch, int64 (num_samples,)."""
    # No two keys are equal (the mixing is one-to-one), so every sorting algorithm gives the same order.
    return np.argsort(_keys(num_samples, seed, epoch, _ORDER_STREAM)).astype(np.int64, copy=False)


def file_permutation(num_samples: int, seed: int) -> NDArray[np.int64]:
    """The random order in which a conversion writes a split's samples, int64 (num_samples,)."""
    return np.argsort(_keys(num_samples, seed, 0, _FILE_STREAM)).astype(np.int64, copy=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pages:
    """A file's records, cut into pages of about PAGE_BYTES; a record belongs to the page it starts in."""

    samples: NDArray[np.int64]
    """(samples,): ids in the order in which the records lie in the file."""
    starts: NDArray[np.int64]
    """(pages + 1,): page p holds samples[starts[p] : starts[p + 1]], at least one."""
    spans: NDArray[np.int64]
    """(pages, 2): the page's first byte in the file and the byte after its last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """An epoch in page-wise order: the order of samples, and the windows that are in memory together."""

    order: NDArray[np.int64]
    """(samples,): the epoch's permutation of all samples."""
    starts: NDArray[np.int64]
    """(windows + 1,): window w holds order[starts[w] : starts[w + 1]]."""
    spans: tuple[NDArray[np.int64], ...]
    """For each window (pages, 2): the bytes of its pages as in Pages.spans, in file order."""


def cut_pages(pointers: NDArray[np.uint64], sizes: NDArray[np.uint64]) -> Pages:
    """The pages of a file whose records start at `pointers` and have `sizes` bytes, both of shape (samples,)."""
    samples = np.argsort(pointers, kind="stable")
    first = pointers[samples].astype(np.int64)
    behind = first + sizes[samples].astype(np.int64)
    page = first // PAGE_BYTES
    starts = np.flatnonzero(np.concatenate([[True], page[1:] != page[:-1]]))
    spans = np.stack([first[starts], np.maximum.reduceat(behind, starts)], axis=1)
    return Pages(samples=samples, starts=np.append(starts, len(samples)), spans=spans)


def page_windows(pages: Pages, *, window_bytes: int, seed: int, epoch: int) -> Windows:
    """The epoch in page-wise order, in windows of equal size that hold at most `window_bytes`.

    A window always holds at least two of the file's largest pages: with fewer nothing would be shuffled.
    """
    shuffled = np.argsort(_keys(len(pages.spans), seed, epoch, _PAGE_STREAM))
    size = pages.spans[shuffled, 1] - pages.spans[shuffled, 0]
    total, largest = int(size.sum()), int(size.max())
    # A window takes the pages that begin in its equal share, so it may exceed the share by one page.
    count = -(-total // max(window_bytes - largest, largest))
    window = (np.cumsum(size) - size) * count // total
    first = np.flatnonzero(np.diff(window, prepend=-1))
    bounds = np.append(first, len(shuffled))

    held = np.diff(pages.starts)[shuffled]
    behind = np.cumsum(held)
    order = pages.samples[np.repeat(pages.starts[shuffled] - behind + held, held) + np.arange(behind[-1])]
    starts = np.append(0, behind)[bounds]
    keys = _keys(len(order), seed, epoch, _ORDER_STREAM)
    for start, stop in pairwise(starts):
        order[start:stop] = order[start:stop][np.argsort(keys[order[start:stop]])]
    spans = tuple(pages.spans[np.sort(shuffled[begin:end])] for begin, end in pairwise(bounds))
    return Windows(order=order, starts=starts, spans=spans)


def repeated(order: NDArray[np.int64], *, repeats: int, global_batch: int) -> NDArray[np.int64]:
    """The views of an epoch in which each sample is `repeats` times in its global batch, int64, flat.

    As many whole batches as `order` fills. Repeated augmentation (Hoffer et al. 2019; Berman et al. 2019), as in timm's
    RepeatAugSampler, with which ResNet Strikes Back trained: `order` with each sample `repeats` times in a row is cut
    into global batches, until there are as many as in a plain epoch. So an epoch uses the first part of its `order`,
    different each time, and if the global batch is not a multiple of `repeats`, a sample at its edge has its last views
    in the next one.

    timm deals a batch to its ranks in turn, so that with at least `repeats` ranks none has a sample twice. Here all
    first views of a batch come first, then all second ones, and so on: the same holds if the batch is cut into at least
    `repeats` device batches, over ranks or accumulation. With two samples or more, views of one sample are never
    neighbours, which MixUp and CutMix would mix.
    """
    steps = len(order) // global_batch
    places = np.arange(steps * global_batch).reshape(steps, global_batch)
    # uint8 sorts several times faster.
    by_repeat = np.argsort((places % repeats).astype(np.uint8), axis=1, kind="stable")
    sample, repeat = np.divmod(np.take_along_axis(places, by_repeat, axis=1).ravel(), repeats)
    return view_of(order[sample], repeat)


def view_of(samples: NDArray[np.int64], repeats: NDArray[np.int64]) -> NDArray[np.int64]:
    """The views of samples in these repeats, all of the same shape; a repeat is below MOST_VIEWS."""
    return samples + (repeats << _REPEAT_SHIFT)


def part_numbers(num_samples: int, held: NDArray[np.int64], *, parts: int, seed: int) -> NDArray[np.int64]:
    """The part of each sample, 0 to parts - 1, and -1 for those in `held`, int64 (num_samples,).

    Parts are drawn at random, so that each has about the classes of the whole, and differ by at most one sample.
    """
    shuffled = without(np.argsort(_keys(num_samples, seed, 0, _PART_STREAM)), held)
    numbers = np.full(num_samples, -1, np.int64)
    numbers[shuffled] = np.arange(len(shuffled)) % parts
    return numbers


def in_parts(
    order: NDArray[np.int64],
    numbers: NDArray[np.int64],
    *,
    parts: int,
    repeats: int,
    global_batch: int,
    accumulation: int,
) -> NDArray[np.int64]:
    """The views of an epoch in which each part gives an equal share of each global batch, int64, flat.

    `numbers` is the part of each sample (part_numbers). A part's samples keep their `order`, and `repeated` applies to
    each part. As many whole batches as `order` fills; with as many ranks as parts, `batches_of` gives each rank the
    views of its own part, and with any other number of ranks global batches are the same.
    """
    if parts == 1:
        return repeated(order, repeats=repeats, global_batch=global_batch)
    share, steps = global_batch // parts, len(order) // global_batch
    # With another number of ranks than parts the accumulation need not divide a part's share, and need not be met.
    cut = accumulation if share % accumulation == 0 else 1
    views = [
        repeated(order[numbers[order] == part], repeats=repeats, global_batch=share)[: steps * share]
        for part in range(parts)
    ]
    return np.stack([one.reshape(steps, cut, share // cut) for one in views], axis=2).ravel()


def samples_of(views: NDArray[np.int64]) -> NDArray[np.int64]:
    """The samples of `views`, of the same shape."""
    return views & ((1 << _REPEAT_SHIFT) - 1)


def train_batches(
    num_samples: int, *, seed: int, epoch: int, global_batch: int, accumulation: int, rank: int, world: int
) -> NDArray[np.int64]:
    """This rank's sample ids in the fully random order, see `batches_of`."""
    order = epoch_permutation(num_samples, seed, epoch)
    return batches_of(order, global_batch=global_batch, accumulation=accumulation, rank=rank, world=world)


def batches_of(
    order: NDArray[np.int64], *, global_batch: int, accumulation: int, rank: int, world: int
) -> NDArray[np.int64]:
    """This rank's part of an epoch's `order`, shape (steps, accumulation, global_batch / accumulation / world).

    Samples that do not fill a global batch are left out of this epoch (different ones in each epoch).
    Raises ValueError when the global batch does not divide evenly or exceeds the data.
    """
    _check_rank(rank, world)
    if accumulation < 1:
        raise ValueError(f"accumulation {accumulation}")
    device_batch, remainder = divmod(global_batch, accumulation * world)
    if remainder or not 0 < global_batch <= len(order):
        raise ValueError(f"global batch {global_batch} of {len(order)} over {accumulation} x {world}")
    steps = len(order) // global_batch
    return order[: steps * global_batch].reshape(steps, accumulation, world, device_batch)[:, :, rank]


def validation_batches(num_samples: int, *, batch: int, rank: int, world: int) -> list[NDArray[np.int64]]:
    """This rank's share of all samples in file order, in batches of at most `batch`; each sample on one rank.

    Shares differ by at most one sample and may be empty. Raises ValueError for a rank or batch out of range.
    """
    _check_rank(rank, world)
    if batch < 1:
        raise ValueError(f"batch {batch}")
    start, stop = (num_samples * part // world for part in (rank, rank + 1))
    return [np.arange(begin, min(begin + batch, stop), dtype=np.int64) for begin in range(start, stop, batch)]


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world}")


def _keys(count: int, seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    """A key for each of `count` items, all different, uint64 (count,)."""
    return sample_keys(np.arange(count), seed, epoch, stream)


def held_out(num_samples: int, share: float, seed: int) -> NDArray[np.int64]:
    """The ids of round(share x num_samples) random samples, sorted, int64 (held out,)."""
    return np.sort(file_permutation(num_samples, seed)[: round(share * num_samples)])


def without(order: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order`, a permutation of all samples, without the ids in `held`."""
    keep = np.ones(len(order), bool)
    keep[held] = False
    return order[keep[order]]
