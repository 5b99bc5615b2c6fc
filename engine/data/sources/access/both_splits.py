"""What holds for train and val together: the same classes, or one source that is divided into the two."""

import hashlib
from dataclasses import replace

import numpy as np

from engine.config.write import SourceConfig
from engine.data.beton.manifest import check_same_classes
from engine.data.sources.base import Source, Split, printable
from engine.errors import UserError


def with_same_classes(train: Source, val: Source, config: SourceConfig) -> Source:
    """`val` with train's classes. Raises UserError where it has others, unless `config.val_classes` allows it."""
    if config.val_classes == "train":
        return _renumbered(val, train.classes, config.path)
    try:
        check_same_classes(train.classes, val.classes, config.path)
    except UserError as error:
        if set(val.classes) <= set(train.classes):
            advice = "pass --source.val_classes=train, with which val takes train's label numbers and may lack classes"
        else:
            advice = "give both the same classes; val may only lack some of train's, with --source.val_classes=train"
        raise UserError(f"{error}: {advice}") from None
    return val


def _renumbered(val: Source, classes: list[str], where: str) -> Source:
    label_of = {name: label for label, name in enumerate(classes)}
    old = np.asarray(val.labels, np.int64)
    labels = np.array([label_of.get(name, -1) for name in val.classes], np.int64)[old]
    unknown = np.flatnonzero(labels < 0)
    if len(unknown):
        first = int(unknown[0])
        raise UserError(
            f"{len(unknown):,} images of val in {where} are of classes that train does not have, such as "
            f"{val.where(first)} of {val.classes[int(old[first])]!r}: add images of them to train, or remove these"
        )
    return replace(val, classes=list(classes), labels=labels)


def divided(whole: Source, config: SourceConfig, why: str = "") -> dict[Split, Source]:
    """`whole` as train and val: of each class `config.split` of the images, and at least one, become val's.

    Which ones is a function of seed and id alone, whatever order they are in. A note says `why` there is no other val.
    Raises UserError for a class of one.
    """
    labels = np.asarray(whole.labels, np.int64)
    keys = np.array([_key(name, config.split_seed) for name in whole.ids], np.uint64)
    order = np.lexsort((keys, labels))
    counts = np.bincount(labels, minlength=len(whole.classes))
    if len(single := np.flatnonzero(counts == 1)):
        raise UserError(
            f"class {printable(whole.classes[int(single[0])])!r} in {config.path} has one image ({len(single)} such "
            "classes), and source.split needs two, one for train and one for val: add images, or remove the class"
        )
    taken = np.minimum(np.maximum(np.floor(counts * config.split + 0.5), 1), np.maximum(counts - 1, 0))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_val = np.zeros(len(order), bool)
    is_val[order[rank < taken[labels[order]]]] = True
    train, val = (whole.select(np.flatnonzero(part)) for part in (~is_val, is_val))
    note = (
        f"val: {len(val):,} of {len(whole):,} images, {config.split:g} of each class (split_seed={config.split_seed}); "
        "if some images are there twice, --rules.leak=skip keeps copies of val's out of train"
    )
    reason = (f"val: taken from train, since no validation split was found: {why}",) if why else ()
    return {"train": train, "val": replace(val, notes=(note, *reason))}


def _key(name: str, seed: int) -> int:
    text = f"{seed}/{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
