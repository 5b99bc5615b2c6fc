"""What a merged file says of itself (shards: what the unsharded one would; others: what they agree on)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from engine.data.beton.manifest import Manifest, check_same_classes
from engine.data.beton.reader import Beton
from engine.errors import UserError

MERGED = "merged"
"""The manifest's order of files that were laid one after the other."""


def merge_manifests(betons: Sequence[Beton], all_of: Sequence[Manifest]) -> Manifest:
    """What a file of all these says of itself; `all_of` what each one does. Raises UserError when they don't go
    together.

    Of shards: what the unsharded file would say. Of other files: what they agree on, and under settings "merged"
    what each one has of its own; their images' numbers in their sources are dropped.
    """
    first = all_of[0]
    for beton, manifest in zip(betons, all_of, strict=True):
        where = f"{betons[0].path} and {beton.path}"
        check_same_classes(first.classes, manifest.classes, where, ("the first", "the second"))
        if manifest.split != first.split:
            raise UserError(
                f"{where} are of the splits {first.split} and {manifest.split}: merge files of one split"
            )
    _check_ids(betons, all_of)
    shards = bool(first.shard)
    return Manifest(
        split=first.split,
        classes=first.classes,
        ids=_chained(one.ids for one in all_of),
        source=_words(one.source for one in all_of),
        settings=first.settings if shards else _agreed(all_of),
        versions={
            tool: _words(one.versions[tool] for one in all_of if tool in one.versions)
            for tool in sorted({*chain.from_iterable(one.versions for one in all_of)})
        },
        counts=summed(one.counts for one in all_of),
        created_by=_words(one.created_by for one in all_of),
        order=first.order if shards else MERGED,
        source_numbers=_chained(one.source_numbers for one in all_of) if shards else (),
        rules={
            kind: _words(one.rules[kind] for one in all_of if kind in one.rules)
            for kind in {kind: None for one in all_of for kind in one.rules}
        },
        odd=summed(one.odd for one in all_of),
        rejects=_chained(one.rejects for one in all_of),
        duplicates=_chained(one.duplicates for one in all_of),
        shard=_shards(all_of) if shards else "",
        license=_words(one.license for one in all_of),
    )


def _check_ids(betons: Sequence[Beton], manifests: Sequence[Manifest]) -> None:
    """An image that is in two files is most likely a file that was given twice."""
    hashes = np.fromiter(map(hash, chain.from_iterable(one.ids for one in manifests)), np.int64)
    hashes.sort()
    # A dict of all names would take more memory than everything else.
    suspects = {*hashes[1:][hashes[1:] == hashes[:-1]].tolist()}
    first_of: dict[str, int] = {}
    for number, (beton, manifest) in enumerate(zip(betons, manifests, strict=True)):
        for name in manifest.ids if suspects else ():
            if hash(name) not in suspects:
                continue
            other = first_of.setdefault(name, number)
            if other != number:
                raise UserError(
                    f"{betons[other].path} and {beton.path} both hold the image {name!r}: leave one out"
                )


def _chained(parts: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(parts))


def _words(texts: Iterable[str]) -> str:
    """The different ones, in order."""
    return ", ".join(dict.fromkeys(text for text in texts if text))


def summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Of each kind, in all."""
    total = Counter[str]()
    for one in counts:
        # Unlike "+", keeps what is 0.
        total.update(one)
    return dict(total)


def _agreed(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Settings that all have alike, and each one's others."""
    first = manifests[0].settings
    common = {
        key: value
        for key, value in first.items()
        if all(one.settings.get(key, ...) == value for one in manifests)
    }
    rest = [
        {"samples": len(one.ids)} | {key: value for key, value in one.settings.items() if key not in common}
        for one in manifests
    ]
    return common | {MERGED: rest}


def _shards(manifests: Sequence[Manifest]) -> str:
    """Empty when all are there, else such as "1+3/8"."""
    numbers, totals = zip(*(one.shard.split("/") for one in manifests), strict=True)
    return "" if len(numbers) == int(totals[0]) else f"{'+'.join(numbers)}/{totals[0]}"
