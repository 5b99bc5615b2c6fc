"""Which samples make up which batch: pure functions of (seed, epoch, rank, world), nothing else.

The global batch k of an epoch is the same set of samples for any number of ranks and any accumulation:
one permutation is cut into global batches, and each of those into (accumulation, rank, position). The
permutation sorts counter-based keys (counter.py), so it is the same for every version of NumPy.

There are two such permutations. `epoch_permutation` is fully random, for a file that fits into memory.
`page_windows` is for one that does not: the file's pages are shuffled, so many of them as fit into a window
are taken at a time, and the samples are shuffled within the window. So the disk is read once an epoch, a page
at a time, and only the windows that are in use need memory. Nothing here depends on the ranks or the machine.

What a batch holds is views: a view is a sample in one of its repeats, as one number, so that it can be the key of
its crop and augmentations. A sample's first view is its own id; only `repeated` makes others.

The part of a training file that is never trained on: a pure function of its size, the share and the seed.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.data.sampling.rng import sample_keys

PAGE_BYTES = 2**20
"""Bytes of a page in page-wise order. Finer than a file's own pages (8 MiB and more): in a file that lies in
the order of its classes a page holds a single class, and a window should hold many; and still so much that
reading it costs a disk or a server little more than reading it as a part of something longer."""

# A view is repeat x 2^56 + sample: no file has as many samples, and int64 has room for 128 repeats.
_REPEAT_SHIFT = 56

# Set these keys apart from each other, and from those that crops.py draws for the same seed and epoch.
_ORDER_STREAM = 0x6F72646572
_PAGE_STREAM = 0x7061676573
_FILE_STREAM = 0x66696C65


def epoch_permutation(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of all samples in this epoch, shape (num_samples,)."""
    # No two keys are equal (the mixing is one-to-one), so every way of sorting gives the same order.
    return np.argsort(_keys(num_samples, seed, epoch, _ORDER_STREAM)).astype(np.int64, copy=False)


def file_permutation(num_samples: int, seed: int) -> NDArray[np.int64]:
    """The order in which a conversion lays a split's samples into its file, shape (num_samples,)."""
    return np.argsort(_keys(num_samples, seed, 0, _FILE_STREAM)).astype(np.int64, copy=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pages:
    """A file's records, cut into pages of about PAGE_BYTES; a record belongs to the page it starts in."""

    samples: NDArray[np.int64]
    """(samples,): ids in the order in which the records lie in the file."""
    starts: NDArray[np.int64]
    """(pages + 1,): page p holds samples[starts[p] : starts[p + 1]], at least one."""
    spans: NDArray[np.int64]
    """(pages, 2): the page's first byte in the file and the one behind its last."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """An epoch in page-wise order: what is used, and what lies in memory together while it is."""

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

    A window that can't hold two of the file's largest pages is made to: it is less than a shuffle otherwise.
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
    """An epoch's views where each sample stands `repeats` times in its global batch; as many whole batches as `order`
    fills, flat.

    Repeated augmentation (Hoffer et al. 2019; Berman et al. 2019). As in timm's RepeatAugSampler, with which ResNet
    Strikes Back trained: `order` with each sample `repeats` times in a row is cut into global batches, until there are
    as many as in a plain epoch. So an epoch uses the first part of its `order`, another one each time, and where the
    global batch is no multiple of `repeats` a sample at its edge has its last views in the next one.

    timm deals a batch out to its ranks in turn, so that on as many ranks as repeats, or more, none has a sample twice.
    Here all first views of a batch come first, then all second ones, and so on, which gives the same where the batch
    is cut into as many device batches, or more, over ranks or accumulation; and views of one sample are never
    neighbours, who are MixUp's and CutMix's partners, if there are two samples or more.
    """
    steps = len(order) // global_batch
    places = np.arange(steps * global_batch).reshape(steps, global_batch)
    # Few bits are sorted several times faster.
    by_repeat = np.argsort((places % repeats).astype(np.uint8), axis=1, kind="stable")
    sample, repeat = np.divmod(np.take_along_axis(places, by_repeat, axis=1).ravel(), repeats)
    return order[sample] + (repeat << _REPEAT_SHIFT)


def samples_of(views: NDArray[np.int64]) -> NDArray[np.int64]:
    """The samples that `views` show, of the same shape."""
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

    The rest that does not fill a global batch is left out of this epoch (another one in each epoch).
    Raises ValueError when the global batch can't be cut evenly or exceeds the data.
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
    """One key for each of `count` things, all different, shape (count,)."""
    return sample_keys(np.arange(count), seed, epoch, stream)


def held_out(num_samples: int, share: float, seed: int) -> NDArray[np.int64]:
    """Ids of round(share x num_samples) random samples, sorted; shape (held out,)."""
    return np.sort(file_permutation(num_samples, seed)[: round(share * num_samples)])


def without(order: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order`, a permutation of all samples, without those held out."""
    keep = np.ones(len(order), bool)
    keep[held] = False
    return order[keep[order]]
