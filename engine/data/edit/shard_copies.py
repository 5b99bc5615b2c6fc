"""Images that are there twice among a conversion's shards: a shard sees its own only, so merging looks for them.

A shard's manifest holds a digest of what each of its images was made from. Compared in the shards' order they say
what the unsharded conversion would have said, and the same rules apply.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton
from engine.data.convert.duplicates import Seen, digests_of_text, find_copies
from engine.data.storage.formats import count_modes
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CopyRules:
    """What becomes of copies; values as of the options of RulesConfig of the same names."""

    duplicate: str = "keep"
    leak: str = "keep"

    @property
    def keep_all(self) -> bool:
        """Whether no image is left out and none ends the merge."""
        return self.duplicate == self.leak == "keep"


@dataclass(frozen=True, kw_only=True, eq=False)
class Searched:
    """A shard after copies were looked for."""

    kept: NDArray[np.int64]
    """Its samples that stay, ascending."""
    manifest: Manifest
    """Of these, with the copies listed as the unsharded conversion does."""


def lacks_digests(shards: Sequence[Beton]) -> Path | None:
    """The first shard from before shards noted digests; None where all have them."""
    return next((shard.path for shard in shards if not _manifest(shard).digests), None)


def search(shards: Sequence[Beton], val: Sequence[Beton], rules: CopyRules) -> list[Searched]:
    """Each of the shards (in order, all with digests) with its copies; `val`: the shards of val, or none.

    Raises UserError for a copy whose rule is "fail", and for digests that can't be read.
    """
    of_val, names_of_val = (_seen(val), _names(val)) if val else (None, [])
    names = _names(shards)
    seen = Seen(len(names))
    number, searched = 0, []
    for shard in shards:
        manifest = _manifest(shard)
        kept: list[int] = []
        duplicates: list[tuple[str, str]] = []
        rejects: list[tuple[str, str, str]] = []
        odd = Counter(manifest.odd)
        for sample, digest in enumerate(_digests(shard)):
            copies = [
                (kind, f"val: {names_of_val[first]}" if kind == "leak" else names[first])
                for kind, first in find_copies(digest, number, seen, of_val, skip_leaks=rules.leak == "skip")
            ]
            odd.update(kind for kind, _ in copies)
            unwanted = [copy for copy in copies if getattr(rules, copy[0]) != "keep"]
            if unwanted:
                rejects.append(_reject(shard, names[number], rules, *unwanted[0]))
            else:
                kept.append(sample)
                duplicates += [(names[number], first) for _, first in copies]
            number += 1
        searched.append(_searched(shard, np.array(kept, np.int64), duplicates, rejects, odd, rules))
    return searched


def _reject(shard: Beton, name: str, rules: CopyRules, kind: str, first: str) -> tuple[str, str, str]:
    """As a manifest lists it. Raises UserError where the rule is "fail"."""
    reason = f"it has the same content as {first}"
    if getattr(rules, kind) == "fail":
        raise UserError(
            f"{shard.path}: the image {name!r}: {reason}: pass --{kind}=skip to leave such images out, or "
            f"--{kind}=keep to have them"
        )
    return name, kind, reason


def _searched(
    shard: Beton,
    kept: NDArray[np.int64],
    duplicates: list[tuple[str, str]],
    rejects: list[tuple[str, str, str]],
    odd: Counter[str],
    rules: CopyRules,
) -> Searched:
    manifest = _manifest(shard)
    changed = replace(
        manifest,
        ids=tuple(manifest.ids[sample] for sample in kept),
        source_numbers=tuple(manifest.source_numbers[sample] for sample in kept),
        counts={"samples": len(kept), **count_modes(shard.images["mode"][kept])},
        rules=manifest.rules | {"duplicate": rules.duplicate, "leak": rules.leak},
        odd=dict(odd),
        rejects=(*manifest.rejects, *rejects),
        duplicates=tuple(duplicates),
    )
    return Searched(kept=kept, manifest=changed)


def _names(shards: Sequence[Beton]) -> list[str]:
    return [name for shard in shards for name in _manifest(shard).ids]


def _seen(shards: Sequence[Beton]) -> Seen:
    seen = Seen(sum(shard.num_samples for shard in shards))
    number = 0
    for shard in shards:
        for digest in _digests(shard):
            seen.add(digest, number)
            number += 1
    return seen


def _digests(shard: Beton) -> list[bytes]:
    """One for each of its images. Raises UserError unless that is what its manifest holds."""
    try:
        digests = digests_of_text(_manifest(shard).digests)
    except ValueError:
        digests = []
    if len(digests) != shard.num_samples:
        raise UserError(
            f"{shard.path} is damaged: its digests cannot be read; copy it again, or write it again with "
            "write_dataset.py"
        )
    return digests


def _manifest(shard: Beton) -> Manifest:
    assert shard.manifest is not None
    return shard.manifest
