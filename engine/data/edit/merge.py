"""Several .betons as one, in the order given; all the shards of one conversion make the file that it would have made.

open -> do they go together? -> copies among shards (shard_copies.py) -> one manifest of all -> records copied as they
are (assemble.py)
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.data.beton.manifest import Manifest, check_same_classes, check_same_source
from engine.data.beton.reader import Beton, open_beton
from engine.data.edit.assemble import Assembled, Part, assemble, refuse_existing
from engine.data.edit.merged_manifest import merge_manifests, summed
from engine.data.edit.shard_copies import CopyRules, Searched, lacks_digests, search
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge came to."""

    file: Assembled
    notes: tuple[str, ...]
    """What the user should know of copies, in words."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of the shards' conversion beside them: with it the merged file says what one machine's does."""

    rules: Mapping[str, str]
    """RulesConfig, as text."""
    ids: Callable[[str], Sequence[str]]
    """The ids of all images of a shard ("3/8") in the order of its plan, stored or not."""


def merge(
    output: Path,
    inputs: Sequence[Path],
    partial: bool = False,
    *,
    val: Sequence[Path] = (),
    rules: CopyRules = CopyRules(),  # noqa: B008 - it is frozen
    origin: Origin | None = None,
) -> Merged:
    """Write `output` of the inputs. Shards are put in their order, and some may be missing where `partial`.

    Among the images of shards copies are looked for, and `rules` say what becomes of them; `val` are the shards of
    val, whose images are looked for among those of train. With `origin` shards may have been made by different
    rules, where the difference concerns none of their images.
    Raises UserError when the inputs don't go together, one is damaged, or the output can't be written.
    """
    refuse_existing(output)
    betons = _opened(inputs)
    _check_storage(betons)
    order = functools.partial(in_shard_order, partial=partial, any_rules=origin is not None)
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
    if origin:
        searched = [_as_planned(one, origin) for one in searched]
    kept = [one.kept for one in searched] or [np.arange(beton.num_samples) for beton in betons]
    manifests = [one.manifest for one in searched] or [beton.manifest for beton in betons if beton.manifest]
    manifest = merge_manifests(betons, manifests) if named else None
    if manifest and origin:
        manifest = replace(manifest, rules=dict(origin.rules))
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


def _opened(paths: Sequence[Path]) -> list[Beton]:
    """The files, with one list of classes for all that have the same: hundreds of shards may have thousands."""
    betons, classes = list[Beton](), dict[tuple[str, ...], tuple[str, ...]]()
    for path in paths:
        beton = open_beton(path)
        if beton.manifest:
            same = classes.setdefault(beton.manifest.classes, beton.manifest.classes)
            beton = replace(beton, manifest=replace(beton.manifest, classes=same))
        betons.append(beton)
    return betons


def _as_planned(shard: Searched, origin: Origin) -> Searched:
    """With the images that were left out in the order of the plan, those of the shard among the copies."""
    kinds = {kind in CopyRules.__annotations__ for _, kind, _ in shard.manifest.rejects}
    if len(kinds) < 2:
        return shard
    place = {name: place for place, name in enumerate(origin.ids(shard.manifest.shard))}
    rejects = tuple(sorted(shard.manifest.rejects, key=lambda reject: place[reject[0]]))
    return replace(shard, manifest=replace(shard.manifest, rejects=rejects))


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
    of_val = _opened(val)
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
    kinds = summed(one.manifest.odd for one in searched)
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


def _manifest(beton: Beton) -> Manifest:
    assert beton.manifest is not None
    return beton.manifest
