"""The plan of a file, made before an image is read: which images of the source, in what order, in which format.

Everything here is a function of the source's length, the options and the seed. A shard is a contiguous part of the
whole file's order, so that shards laid one after the other are the whole file.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.config.write import OutputConfig
from engine.data.sampling.order import file_permutation
from engine.data.sources import Source, Split
from engine.data.storage.formats import named
from engine.errors import UserError

# The random stream of the JPEG/raw choice, beside the orders'.
_MODE_STREAM = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The images of one file, in its order; some may yet be rejected."""

    split: Split
    images: Source
    numbers: NDArray[np.int64]
    """Each image's number in the source's own order, of all images found there."""
    modes: NDArray[np.uint8]
    """The mode of the StorageFormat of each image."""
    found: int
    """Images of the split in the source, of which these were chosen."""
    found_digest: str = ""
    """Of a shard: a digest of all ids and labels, to notice shards of different data sets."""

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, chosen: NDArray[np.int64]) -> "Plan":
        """Only these images, by their number in the file, in this order."""
        return replace(
            self,
            images=self.images.select(chosen),
            numbers=self.numbers[chosen],
            modes=self.modes[chosen],
        )


def make_plan(source: Source, split: Split, output: OutputConfig) -> Plan:
    """The whole file's plan, or one shard's. Raises UserError for a shard without images."""
    numbers = choose_order(len(source), output)
    modes = choose_modes(len(numbers), output)
    part, parts = parse_shard(output.shard)
    here = _shard(part, parts, len(numbers))
    if here.start == here.stop:
        raise UserError(
            f"output.shard {output.shard}: {split} has only {len(numbers)} images: use fewer shards"
        )
    return _plan(source, split, numbers[here], modes[here], _digest(source) if output.shard else "")


def shard_plans(source: Source, split: Split, output: OutputConfig, parts: int) -> Iterator[Plan]:
    """The plans of all shards in order, each as `make_plan` makes it; there are at least `parts` images."""
    numbers = choose_order(len(source), output)
    modes, digest = choose_modes(len(numbers), output), _digest(source)
    for part in range(1, parts + 1):
        here = _shard(part, parts, len(numbers))
        yield _plan(source, split, numbers[here], modes[here], digest)


def _shard(part: int, parts: int, images: int) -> slice:
    return slice(images * (part - 1) // parts, images * part // parts)


def _plan(
    source: Source, split: Split, numbers: NDArray[np.int64], modes: NDArray[np.uint8], digest: str
) -> Plan:
    return Plan(
        split=split,
        images=source.select(numbers),
        numbers=numbers,
        modes=modes,
        found=len(source),
        found_digest=digest,
    )


def _digest(source: Source) -> str:
    """Of all images' ids and labels in the source's own order."""
    state = hashlib.sha256(np.asarray(source.labels, "<i8").tobytes())
    for name in source.ids:
        state.update(f"{name}\0".encode("utf-8", "surrogatepass"))
    return state.hexdigest()[:32]


def choose_order(count: int, output: OutputConfig) -> NDArray[np.int64]:
    """The source numbers of the images to write, in file order: `output.subset` of `count`, or all of them."""
    chosen = file_permutation(count, output.seed)[: output.subset or count]
    return np.sort(chosen) if output.order == "source" else chosen


def choose_modes(count: int, output: OutputConfig) -> NDArray[np.uint8]:
    """The mode of each image's format: a function of output.format, seed and the image's number in the whole file.

    Raises UserError for a format that is not registered.
    """
    first, *others = named(output.format)
    modes = np.full(count, first.mode, np.uint8)
    for other in others:
        random = np.random.default_rng([output.seed, _MODE_STREAM])
        modes[random.random(count) >= output.compress_probability] = other.mode
    return modes


def parse_shard(shard: str) -> tuple[int, int]:
    """(i, n) of "i/n"; (1, 1) of an empty text. Raises UserError for anything else."""
    if not shard:
        return 1, 1
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard, re.ASCII)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"output.shard: {shard!r} is not i/n with i from 1 to n, such as 1/8")
    return int(match[1]), int(match[2])


def file_name(split: Split, shard: str) -> str:
    """The name of a split's file, or of a shard of it: train.beton, train.2-of-8.beton."""
    part, parts = parse_shard(shard)
    return f"{split}.{part}-of-{parts}.beton" if shard else f"{split}.beton"
