"""Several .betons as one, in the order given; all the shards of one conversion make the file that it would have made.

open -> do they go together? -> copies among shards (shard_copies.py) -> one manifest of all -> records copied as they
are (assemble.py)
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.beton.manifest import Manifest, check_same_classes, check_same_source
from engine.data.beton.reader import Beton, open_beton
from engine.data.edit.assemble import Assembled, Part, assemble, refuse_existing
from engine.data.edit.shard_copies import CopyRules, Searched, lacks_digests, search
from engine.errors import UserError

MERGED = "merged"
"""The manifest's order of files that were laid one after the other."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge came to."""

    file: Assembled
    notes: tuple[str, ...]
    """What the user should know of copies, in words."""


def merge(
    output: Path,
    inputs: Sequence[Path],
    partial: bool = False,
    *,
    val: Sequence[Path] = (),
    rules: CopyRules = CopyRules(),  # noqa: B008 - it is frozen
    converted_by: Mapping[str, str] | None = None,
) -> Merged:
    """Write `output` of the inputs. Shards are put in their order, and some may be missing where `partial`.

    Among the images of shards copies are looked for, and `rules` say what becomes of them; `val` are the shards of
    val, whose images are looked for among those of train. With `converted_by` shards may have been made by different
    rules (RulesConfig, as text), where the difference concerns none of their images: the file then names these.
    Raises UserError when the inputs don't go together, one is damaged, or the output can't be written.
    """
    refuse_existing(output)
    betons = [open_beton(path) for path in inputs]
    _check_storage(betons)
    order = functools.partial(in_shard_order, partial=partial, any_rules=converted_by is not None)
    named = [beton.manifest for beton in betons if beton.manifest]
    if len(named) not in (0, len(betons)):
        bare = next(beton.path for beton in betons if not beton.manifest)
        raise UserError(
            f"{bare} names no classes (stock ffcv wrote it), and others do: labels that mean different things can't be "
            "merged; convert it with write_dataset.py"
        )
    if named:
        betons = order(betons)
    searched, notes = _search(betons, val, order, rules)
    kept = [one.kept for one in searched] or [np.arange(beton.num_samples) for beton in betons]
    manifests = [one.manifest for one in searched] or [beton.manifest for beton in betons if beton.manifest]
    manifest = merge_manifests(betons, manifests) if named else None
    if manifest and converted_by is not None:
        manifest = replace(manifest, rules=dict(converted_by))
    parts = [
        Part(beton=beton, samples=samples, labels=beton.labels[samples])
        for beton, samples in zip(betons, kept, strict=True)
        if len(samples)
    ]
    if not parts:
        raise UserError(
            "the rules leave out every image, as a copy of others (--leak, --conflict): pass keep for one of them"
        )
    file = assemble(output, parts, manifest, len(manifest.rejects) if manifest else 0)
    return Merged(file=file, notes=notes)


def _search(
    betons: Sequence[Beton],
    val: Sequence[Path],
    order: Callable[[Sequence[Beton]], list[Beton]],
    rules: CopyRules,
) -> tuple[list[Searched], tuple[str, ...]]:
    """Copies among shards, or an empty list where they can't be looked for; and what to say of it.

    Raises UserError where that is an error: something of `val` or `rules` that would not be heeded.
    """
    asked = bool(val) or not rules.keep_all
    if not betons[0].manifest or not betons[0].manifest.shard:
        if asked:
            raise UserError(
                f"{betons[0].path} is no shard (--output.shard), and copies are looked for among shards only: leave "
                "out --val, --duplicate, --leak and --conflict; python -m engine audit finds copies in any files"
            )
        return [], ()
    is_train = betons[0].manifest.split == "train"
    of_val = [open_beton(path) for path in val]
    if of_val:
        if not is_train:
            raise UserError("--val is for merging the shards of train, and these are val's: leave it out")
        of_val = order(of_val)
        _check_val(betons[0], of_val)
    elif rules.leak != "keep":
        raise UserError(f"--leak={rules.leak} needs the shards of val to compare with: pass --val FILE...")
    old = lacks_digests([*betons, *of_val])
    if old:
        why = f"{old} was written by an earlier version, without digests of its images' content"
        if asked:
            raise UserError(f"copies can't be looked for: {why}: convert it again, or leave out the options")
        return [], (f"copies were not looked for: {why}",)
    searched = search(betons, of_val, rules)
    notes = [_found(searched)] if any(one.manifest.duplicates for one in searched) else []
    if is_train and not of_val:
        notes.append(
            "training images that are also in val were not looked for: pass --val VAL_SHARD... to find them"
        )
    return searched, tuple(notes)


def _found(searched: Sequence[Searched]) -> str:
    kinds = _sum(one.manifest.odd for one in searched)
    counts = ", ".join(
        f"{kind} {kinds[kind]:,}" for kind in ("duplicate", "leak", "conflict") if kinds.get(kind)
    )
    return f"copies: {counts}; python -m engine inspect lists them"


def _check_val(train: Beton, val: Sequence[Beton]) -> None:
    """Raise UserError unless these are val's shards of the conversion that `train` is a shard of."""
    for beton in val:
        manifest = _manifest(beton)
        if not manifest.shard or manifest.split != "val":
            raise UserError(f"--val: {beton.path} is no shard of val: give the files val.*-of-*.beton")
        where = f"{train.path} and {beton.path}"
        check_same_classes(_manifest(train).classes, manifest.classes, where, ("the first", "the second"))


def _check_storage(betons: Sequence[Beton]) -> None:
    """JPEG and raw go together, a format of another field (YUV 4:2:0) only with its like."""
    first = betons[0]
    for beton in betons[1:]:
        if first.formats[0].magic != beton.formats[0].magic:
            alone = next(one.storage for one in (first, beton) if one.formats[0].magic)
            raise UserError(
                f"{first.path} stores {first.storage} and {beton.path} {beton.storage}: "
                f"{alone} merges only with {alone}"
            )
        limits = [(one.short_side, one.max_resolution) for one in (first, beton)]
        if limits[0] != limits[1]:
            raise UserError(
                f"{first.path} and {beton.path} were shrunk to different sizes (short_side, max_resolution: "
                f"{limits[0]} and {limits[1]}): convert both with the same ones"
            )


def in_shard_order(betons: Sequence[Beton], partial: bool, any_rules: bool = False) -> list[Beton]:
    """Shards by their numbers; files that are none as they come. All have manifests.

    Raises UserError for shards that are missing (unless `partial`), there twice, of different conversions (of
    different rules may be with `any_rules`), or among files that are none.
    """
    shards = {beton.path: _manifest(beton).shard for beton in betons}
    if not any(shards.values()):
        return list(betons)
    numbers: dict[int, Beton] = {}
    totals = set()
    for beton in betons:
        shard = shards[beton.path]
        match = re.fullmatch(r"(\d+)/(\d+)", shard, re.ASCII)
        if not match:
            what = f"shards {shard}, merged already" if shard else "no shard"
            raise UserError(
                f"{beton.path} holds {what}, and others are shards: merge the single shards of one run"
            )
        number = int(match[1])
        totals.add(int(match[2]))
        if number in numbers:
            raise UserError(f"{numbers[number].path} and {beton.path} are both shard {shard}: leave one out")
        numbers[number] = beton
    if len(totals) > 1:
        raise UserError(
            f"the shards are of {' and '.join(map(str, sorted(totals)))} parts: merge those of one run"
        )
    missing = sorted({*range(1, totals.pop() + 1)} - numbers.keys())
    if missing and not partial:
        listed = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise UserError(f"shards {listed} are missing: add them, or pass --partial to merge without them")
    ordered = [numbers[number] for number in sorted(numbers)]
    for beton in ordered[1:]:
        for name in ("settings", *(() if any_rules else ("rules",)), "source", "order", "license"):
            if getattr(_manifest(beton), name) != getattr(_manifest(ordered[0]), name):
                raise UserError(
                    f"{ordered[0].path} and {beton.path} were converted with different {name} (see python -m engine "
                    "inspect): shards of different runs may lack images or hold them twice; convert one again"
                )
    # Shards of earlier versions don't say.
    telling = [beton for beton in ordered if _manifest(beton).found_digest]
    for beton in telling[1:]:
        where = f"{telling[0].path} and {beton.path}"
        check_same_source(_manifest(telling[0]), _manifest(beton), where)
    return ordered


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
        counts=_sum(one.counts for one in all_of),
        created_by=_words(one.created_by for one in all_of),
        order=first.order if shards else MERGED,
        source_numbers=_chained(one.source_numbers for one in all_of) if shards else (),
        rules={
            kind: _words(one.rules[kind] for one in all_of if kind in one.rules)
            for kind in {kind: None for one in all_of for kind in one.rules}
        },
        odd=_sum(one.odd for one in all_of),
        rejects=_chained(one.rejects for one in all_of),
        duplicates=_chained(one.duplicates for one in all_of),
        shard=_shards(all_of) if shards else "",
        license=_words(one.license for one in all_of),
    )


def _manifest(beton: Beton) -> Manifest:
    assert beton.manifest is not None
    return beton.manifest


def _check_ids(betons: Sequence[Beton], manifests: Sequence[Manifest]) -> None:
    """An image that is in two files is most likely a file that was given twice."""
    first_of: dict[str, int] = {}
    for number, (beton, manifest) in enumerate(zip(betons, manifests, strict=True)):
        for name in manifest.ids:
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


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
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
