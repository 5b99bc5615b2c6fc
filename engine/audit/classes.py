"""Class lists and class balance of train and val, and a common numbering of their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.audit.finding import FINE, FOUND, NOTE, Finding, shorten
from engine.data.beton.reader import Beton
from engine.train.evaluation.accuracy import UNEVEN

# A class is only reported if its count in val differs from the expected one by this factor ...
_FACTOR = 2.0
# ... and by this many standard deviations.
_SIGMAS = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """The labels of both files in one numbering: train's classes in its order, then those only in val."""

    names: tuple[str, ...]
    train: NDArray[np.int64]
    """(training images,)"""
    val: NDArray[np.int64]
    """(validation images,): matched by class name, if both files name their classes."""
    num_train: int
    """Number of train's classes, names[:num_train]."""


def align(train: Beton, val: Beton) -> Labels:
    """A common numbering. If a file has no class names, or one name twice, its label numbers are used as they are."""
    ours = train.manifest.classes if train.manifest else ()
    theirs = val.manifest.classes if val.manifest else ()
    by_name = ours and theirs and len(set(ours)) == len(ours) and len(set(theirs)) == len(theirs)
    if by_name:
        names = [*ours, *_missing(theirs, ours)]
        number = {name: index for index, name in enumerate(names)}
        mapped = np.array([number[name] for name in theirs], np.int64)[val.labels]
        return Labels(names=tuple(names), train=train.labels, val=mapped, num_train=len(ours))
    known = list(ours or theirs)
    count = max(train.num_classes, val.num_classes)
    known += [f"class {number}" for number in range(len(known), count)]
    return Labels(
        names=tuple(known), train=train.labels, val=val.labels, num_train=train.num_classes if ours else count
    )


def check_lists(train: Beton, val: Beton) -> Finding:
    """Check that both files have the same class names with the same label numbers."""
    check = "class lists"
    if train.manifest is None or val.manifest is None:
        unnamed = " and ".join(str(beton.path) for beton in (train, val) if beton.manifest is None)
        verdict = f"{unnamed} has no class names: label numbers are compared as they are"
        return Finding(check=check, level=NOTE, verdict=verdict)
    ours, theirs = train.manifest.classes, val.manifest.classes
    if ours == theirs:
        same = f"the same {len(ours):,} names in the same order"
        return Finding(check=check, level=FINE, verdict=same, data={"classes": len(ours)})
    only_train, only_val = _missing(ours, theirs), _missing(theirs, ours)
    moved = [
        f"label {label}: {a!r} in train, {b!r} in val"
        for label, (a, b) in enumerate(zip(ours, theirs, strict=False))
        if a != b
    ]
    parts = [f"{len(names)} only in {split}" for split, names in _named(only_train, only_val) if names]
    if moved:
        parts.append(f"{len(moved)} labels mean another class in val than in train")
    details = [f"only in {split}: {name}" for split, names in _named(only_train, only_val) for name in names]
    verdict = "they differ: " + "; ".join(parts) + ". Convert both files from one source"
    data = {"only_train": only_train, "only_val": only_val, "moved": len(moved)}
    return Finding(
        check=check,
        level=FOUND,
        verdict=verdict,
        details=(*shorten(details), *shorten(moved)),
        data=data,
    )


def _missing(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """The names that are not in `others`."""
    known = set(others)
    return [name for name in names if name not in known]


def _named(train: Sequence[str], val: Sequence[str]) -> tuple[tuple[str, Sequence[str]], ...]:
    return ("train", train), ("val", val)


def check_balance(labels: Labels) -> Finding:
    """Check the images per class: classes without images, of very different sizes, or with an odd share of val.

    A class is reported when its count in val differs by a factor of 2 and by 5 standard deviations of a binomial count,
    both from an equal share and from its share of train.
    """
    size = len(labels.names)
    train, val = (np.bincount(part, minlength=size) for part in (labels.train, labels.val))
    missing = {"train": np.flatnonzero(train == 0), "val": np.flatnonzero(val == 0)}
    odd = _stand_out(train, val)
    parts = [
        f"{len(which):,} classes have no image in {split}" for split, which in missing.items() if len(which)
    ]
    if len(odd):
        parts.append(
            f"{len(odd):,} classes have far more or fewer images in val than the others or train suggest"
        )
    uneven = []
    for split, counts in (("train", train), ("val", val)):
        held = counts[counts > 0]
        if held.max() > UNEVEN * held.min():
            uneven.append(
                f"the largest class in {split} has {held.max() / held.min():.3g} times the images of the smallest: "
                "top-1 says little of the small ones (a run reports the mean over classes too)"
            )
    details = [
        f"images per class: {_spread(split, counts)}" for split, counts in (("train", train), ("val", val))
    ]
    for split, which in missing.items():
        details += shorten([f"no image in {split}: {labels.names[label]} (label {label})" for label in which])
    details += shorten(
        [f"{labels.names[label]}: {train[label]:,} in train, {val[label]:,} in val" for label in odd]
    )
    ratio = len(labels.train) / len(labels.val)
    return Finding(
        check="class balance",
        level=FOUND if parts else NOTE if uneven else FINE,
        verdict="; ".join([*parts, *uneven])
        or f"all {size:,} classes in both; {ratio:.3g} training images for each validation image",
        details=tuple(details),
        data={
            "train": train.tolist(),
            "val": val.tolist(),
            "odd": [labels.names[label] for label in odd],
            **{
                f"missing_{split}": [labels.names[label] for label in which]
                for split, which in missing.items()
            },
        },
    )


def _stand_out(train: NDArray[np.int64], val: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of classes with images in both files whose count in val is unexpected."""
    present = (train > 0) & (val > 0)
    total = int(val[present].sum())
    odd = present.copy()
    for share in (
        present / max(1, present.sum()),
        np.where(present, train, 0) / max(1, train[present].sum()),
    ):
        expected = total * share
        deviation = np.abs(val - expected)
        by_factor = (val > _FACTOR * expected) | (val * _FACTOR < expected)
        odd &= by_factor & (deviation > _SIGMAS * np.sqrt(expected * (1 - share)))
    return np.flatnonzero(odd)


def _spread(split: str, counts: NDArray[np.int64]) -> str:
    return f"{split} {counts.min():,} to {counts.max():,}, median {np.median(counts):,.0f}"
