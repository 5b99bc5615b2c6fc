"""Some of a .beton's images as a file of their own: chosen classes, a share, so many of each class, or so many in all.

The choice is a function of the seed and the images' numbers in the file. It is nested: with one seed, a smaller share
(or number) of a file is part of every larger one, and choosing classes besides changes nothing about the others.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, open_beton
from engine.data.edit.assemble import Assembled, Part, assemble, refuse_existing
from engine.data.storage.formats import count_modes
from engine.errors import UserError
from engine.registry import nearest

SELECTIONS = "selections"
"""The key of a manifest's settings that lists how a file was chosen from its source, first choice first."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which images are taken. At most one of fraction, count and per_class is not 0."""

    classes: tuple[str, ...] = ()
    """Names; empty: all."""
    fraction: float = 0
    """Of each class, rounded, but at least one image."""
    count: int = 0
    """In all, whatever their classes."""
    per_class: int = 0
    """Of each class, or all of a class that has fewer."""
    seed: int = 0
    keep_labels: bool = False
    """Keep the whole class list with its labels, also of classes without images; else the chosen ones are numbered."""


def subset(output: Path, source: Path, choice: Choice) -> Assembled:
    """Write `output`, the chosen images of `source` in its order.

    Raises UserError when a class is unknown, no image is chosen, a record is damaged or the output can't be written.
    """
    refuse_existing(output)
    beton = open_beton(source)
    labels = chosen_labels(beton, choice.classes)
    samples = choose(beton.labels, labels, choice)
    if not len(samples):
        raise UserError(f"none of the {beton.num_samples} images of {beton.path} is chosen: choose more")
    new_label = np.full(beton.num_classes, -1, np.int64)
    keep = choice.keep_labels or not choice.classes
    new_label[labels] = labels if keep else np.arange(len(labels))
    part = Part(beton=beton, samples=samples, labels=new_label[beton.labels[samples]])
    manifest = beton.manifest and _manifest(beton, beton.manifest, samples, labels, choice)
    return assemble(output, [part], manifest)


def chosen_labels(beton: Beton, names: tuple[str, ...]) -> NDArray[np.int64]:
    """The labels of these classes, ascending; of no names, all. Raises UserError for a name that the file lacks."""
    if not names:
        return np.arange(beton.num_classes)
    if beton.manifest is None:
        raise UserError(f"{beton.path} names no classes (stock ffcv wrote it): none can be chosen by name")
    label_of = {name: label for label, name in enumerate(beton.manifest.classes)}
    for name in names:
        if name not in label_of:
            raise UserError(f"{beton.path} has no class {name!r}{nearest(name, label_of)}")
    return np.unique([label_of[name] for name in names])


def choose(of_samples: NDArray[np.int64], labels: NDArray[np.int64], choice: Choice) -> NDArray[np.int64]:
    """The numbers, ascending, of the images chosen among those whose label is one of `labels`."""
    samples = np.flatnonzero(np.isin(of_samples, labels))
    # Drawn for every image of the file, so that it is the same whatever is chosen.
    lot = np.random.default_rng(choice.seed).permutation(len(of_samples))[samples]
    if choice.count:
        return np.sort(samples[np.argsort(lot)[: choice.count]])
    if not (choice.fraction or choice.per_class):
        return samples
    # By class, then by lot; then each one's place in its class.
    order = np.lexsort((lot, of_samples[samples]))
    by_class = of_samples[samples][order]
    _, first, sizes = np.unique(by_class, return_index=True, return_counts=True)
    rank = np.arange(len(samples)) - np.repeat(first, sizes)
    most = (
        np.maximum(1, np.rint(sizes * choice.fraction))
        if choice.fraction
        else np.full(len(sizes), choice.per_class)
    )
    return np.sort(samples[order[rank < np.repeat(most, sizes)]])


def _manifest(
    beton: Beton, manifest: Manifest, samples: NDArray[np.int64], labels: NDArray[np.int64], choice: Choice
) -> Manifest:
    """What was met in the conversion (odd images, rejects) was that of the whole file, and is left out."""
    ids = tuple(manifest.ids[sample] for sample in samples)
    there = set(ids)
    classes = manifest.classes
    if choice.classes and not choice.keep_labels:
        classes = tuple(classes[label] for label in labels)
    said: dict[str, Any] = {
        "of": beton.num_samples,
        "of_classes": beton.num_classes,
        "classes": len(labels),
        "seed": choice.seed,
    }
    ways = {"fraction": choice.fraction, "count": choice.count, "per_class": choice.per_class}
    said |= {name: value for name, value in ways.items() if value}
    said |= {"labels": "kept" if classes == manifest.classes else "renumbered"}
    said |= {"shard": manifest.shard} if manifest.shard else {}
    return replace(
        manifest,
        classes=classes,
        ids=ids,
        settings=manifest.settings | {SELECTIONS: [*manifest.settings.get(SELECTIONS, []), said]},
        counts={"samples": len(ids), **count_modes(beton.images["mode"][samples])},
        source_numbers=tuple(manifest.source_numbers[sample] for sample in samples)
        if manifest.source_numbers
        else (),
        odd={},
        rejects=(),
        duplicates=tuple(pair for pair in manifest.duplicates if there.issuperset(pair)),
        shard="",
        digests="",
        found=0,
        found_digest="",
    )
