"""The check for duplicate images, exact or near: across the files, within each, and with different labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.collection import Collection
from engine.audit.copies.exact import exact_groups
from engine.audit.copies.near import KEYS, SIDE, near_pairs, perceptual_hashes, similarity
from engine.audit.finding import FINE, FOUND, NOTE, Finding, shorten
from engine.audit.pictures import Pictures
from engine.progress import Progress

# Measured on 488 photos and copies of them; see tests/audit/copies/test_near_duplicates.py.
NEAR_BITS = 10
ALIKE = 0.9

_BATCH = 4096


@dataclass(frozen=True)
class Pair:
    """Two images of a collection that are equal or alike."""

    one: int
    other: int
    alike: float
    """Correlation of their pixels; 1.0 for the same bytes."""
    exact: bool


def find_pairs(collection: Collection, pictures: Pictures, *, near: bool) -> tuple[list[Pair], int]:
    """All pairs, and the number of candidate pairs that were not compared, of images with very many copies.

    In a group of equal images the first one is paired with each other one. With `near` false only equal bytes count,
    which needs no decoding.
    """
    groups = exact_groups(collection.betons)
    pairs = [Pair(int(group[0]), int(other), 1.0, True) for group in groups for other in group[1:]]
    if not near:
        return pairs, 0
    repeated = np.concatenate([np.zeros(0, np.int64), *(group[1:] for group in groups)])
    images = np.setdiff1d(np.arange(collection.size), repeated)
    hashes = _hash_all(pictures, images)
    sound = ~np.isin(images, list(pictures.damaged))
    images, hashes = images[sound], hashes[sound]
    with Progress("comparing hashes", KEYS * len(images), "lookups") as progress:
        places, beyond = near_pairs(hashes, NEAR_BITS, progress.update)
    alike = _compare(pictures, images[places])
    pairs += [
        Pair(int(one), int(other), float(value), False)
        for (one, other), value in zip(images[places], alike, strict=True)
        if value >= ALIKE
    ]
    return pairs, beyond


def _hash_all(pictures: Pictures, images: NDArray[np.int64]) -> NDArray[np.uint64]:
    hashes = np.empty(len(images), np.uint64)
    with Progress("hashing images", len(images), "images") as progress:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            hashes[start : start + _BATCH] = perceptual_hashes(pictures.whole(batch, SIDE))
            progress.update(len(batch))
    return hashes


def _compare(pictures: Pictures, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The similarity of each pair of images (pairs, 2): float64 (pairs,)."""
    alike = np.empty(len(pairs))
    with Progress("comparing images", len(pairs), "pairs") as progress:
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            alike[start : start + _BATCH] = similarity(
                *(pictures.whole(batch[:, side], SIDE) for side in (0, 1))
            )
            progress.update(len(batch))
    return alike


def by_importance(collection: Collection, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs with different labels first, then pairs across the files, then by similarity."""

    def key(pair: Pair) -> tuple[bool, bool, float, int, int]:
        return (
            not differs(collection, pair),
            not crosses(collection, pair),
            -pair.alike,
            pair.one,
            pair.other,
        )

    return sorted(pairs, key=key)


def differs(collection: Collection, pair: Pair) -> bool:
    """Whether the two have different labels, so one of them is wrong."""
    return collection.class_name(pair.one) != collection.class_name(pair.other)


def crosses(collection: Collection, pair: Pair) -> bool:
    """Whether one is in train and the other in val."""
    return collection.place(pair.one)[0] != collection.place(pair.other)[0]


def check_duplicates(
    collection: Collection, pairs: Sequence[Pair], beyond: int, *, near: bool
) -> list[Finding]:
    """The findings of all pairs: contradicting labels, validation images that are in train, repeated images."""
    ordered = by_importance(collection, pairs)
    contrary = [pair for pair in ordered if differs(collection, pair)]
    leaks = [pair for pair in ordered if crosses(collection, pair)]
    within = [pair for pair in ordered if not crosses(collection, pair)]
    leaked = {pair.other for pair in leaks}
    kinds = "bytes or look" if near else "bytes"
    findings = [
        Finding(
            check="contradicting labels",
            level=FOUND if contrary else FINE,
            verdict=f"{len(contrary):,} pairs of the same image have different labels: one of each is wrong"
            if contrary
            else f"no two images of the same {kinds} have different labels",
            details=shorten([_line(collection, pair) for pair in contrary]),
            data={"pairs": [_entry(collection, pair) for pair in contrary]},
        ),
        Finding(
            check="train in val",
            level=FOUND if leaks else FINE,
            verdict=f"{_share(len(leaked), collection.val.num_samples)} of val's images are also in train"
            f" ({_kinds(leaks)}): accuracy on them is memorisation"
            if leaks
            else f"no image of val has the {kinds} of one in train",
            details=shorten([_line(collection, pair) for pair in leaks]),
            data={"images": len(leaked), "pairs": [_entry(collection, pair) for pair in leaks]},
        ),
        Finding(
            check="repeated images",
            level=NOTE if within else FINE,
            verdict=f"{len(within):,} pairs within a file ({_kinds(within)})"
            if within
            else "none within a file",
            details=shorten([_line(collection, pair) for pair in within]),
            data={"pairs": [_entry(collection, pair) for pair in within]},
        ),
    ]
    if beyond:
        verdict = f"{beyond:,} more pairs with similar hashes were not compared: some images have very many"
        findings.append(Finding(check="many copies", level=NOTE, verdict=verdict, data={"pairs": beyond}))
    return findings


def _kinds(pairs: Sequence[Pair]) -> str:
    exact = sum(pair.exact for pair in pairs)
    return f"{exact:,} the same bytes, {len(pairs) - exact:,} near copies"


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.2%})"


def _line(collection: Collection, pair: Pair) -> str:
    how = "the same bytes" if pair.exact else f"alike {pair.alike:.3f}"
    sides = (
        f"{collection.name(image)} is {collection.class_name(image)!r}" for image in (pair.other, pair.one)
    )
    return f"{'; '.join(sides)}; {how}"


def _entry(collection: Collection, pair: Pair) -> dict[str, object]:
    sides = {}
    for name, image in (("one", pair.one), ("other", pair.other)):
        split, sample = collection.place(image)
        source, label = collection.source_id(image), collection.class_name(image)
        sides[name] = {"split": split, "sample": sample, "id": source, "label": label}
    return {**sides, "alike": round(pair.alike, 4), "exact": pair.exact}
