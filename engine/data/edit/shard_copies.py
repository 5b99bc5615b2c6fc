"""Images that are there twice among a conversion's shards: a shard sees its own only, so merging looks for them.

A shard's manifest holds a digest of what each of its images was made from. Compared in the shards' order they say
what the unsharded conversion would have said, and the same rules apply.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton
from engine.data.convert.duplicates import Copies, digests_of_text
from engine.data.storage.formats import count_modes
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CopyRules:
    """What becomes of copies; values as of the options of RulesConfig of the same names."""

    duplicate: str = "keep"
    leak: str = "keep"
    conflict: str = "keep"

    @property
    def keep_all(self) -> bool:
        """Whether no image is left out and none ends the merge."""
        return self.duplicate == self.leak == self.conflict == "keep"


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
    of_val, names_of_val = (_seen(val, rules), _names(val)) if val else (None, [])
    names = _names(shards)
    copies = Copies(_labels(shards), asdict(rules), of_val)
    number, found = 0, list[_Found]()
    for shard in shards:
        here = _Found(shard, number, Counter(_manifest(shard).odd))
        found.append(here)
        for digest in _digests(shard):
            of_this = copies.find(digest, number)
            here.odd.update({copy.kind for copy in of_this})
            named = [
                (copy.kind, f"val: {names_of_val[copy.first]}" if copy.in_val else names[copy.first])
                for copy in of_this
            ]
            unwanted = [one for one in named if getattr(rules, one[0]) != "keep"]
            if unwanted:
                here.rejects[number] = _reject(shard, names[number], rules, *unwanted[0])
            else:
                copies.keep(number, of_this)
                here.duplicates += [
                    (names[number], first) for first in dict.fromkeys(name for _, name in named)
                ]
            for first in copies.withdraw(of_this):
                of_first = next(one for one in reversed(found) if one.begin <= first)
                of_first.odd["conflict"] += 1
                of_first.rejects[first] = _reject(shard, names[first], rules, "conflict", names[number])
            number += 1
    return [_searched(one, names, rules) for one in found]


@dataclass
class _Found:
    """What was found among a shard's images, by their numbers among those of all shards."""

    shard: Beton
    begin: int
    """The number of its first image."""
    odd: Counter[str]
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    rejects: dict[int, tuple[str, str, str]] = field(default_factory=dict)


def _reject(shard: Beton, name: str, rules: CopyRules, kind: str, first: str) -> tuple[str, str, str]:
    """As a manifest lists it. Raises UserError where the rule is "fail"."""
    reason = f"it has the same content as {first}" + (", of another class" if kind == "conflict" else "")
    if getattr(rules, kind) == "fail":
        raise UserError(
            f"{shard.path}: the image {name!r}: {reason}: pass --{kind}=skip to leave such images out, or "
            f"--{kind}=keep to have them"
        )
    return name, kind, reason


def _searched(found: _Found, names: Sequence[str], rules: CopyRules) -> Searched:
    shard, manifest = found.shard, _manifest(found.shard)
    gone = {names[number] for number in found.rejects}
    kept = np.array(
        [sample for sample in range(shard.num_samples) if found.begin + sample not in found.rejects], np.int64
    )
    changed = replace(
        manifest,
        ids=tuple(manifest.ids[sample] for sample in kept),
        source_numbers=tuple(manifest.source_numbers[sample] for sample in kept),
        counts={"samples": len(kept), **count_modes(shard.images["mode"][kept])},
        rules=manifest.rules | asdict(rules),
        odd=dict(found.odd),
        rejects=(*manifest.rejects, *(found.rejects[number] for number in sorted(found.rejects))),
        duplicates=tuple(pair for pair in found.duplicates if pair[0] not in gone),
    )
    return Searched(kept=kept, manifest=changed)


def _names(shards: Sequence[Beton]) -> list[str]:
    return [name for shard in shards for name in _manifest(shard).ids]


def _labels(shards: Sequence[Beton]) -> NDArray[np.int64]:
    return np.concatenate([shard.labels for shard in shards])


def _seen(shards: Sequence[Beton], rules: CopyRules) -> Copies:
    """The images of val's shards, as they are merged by the same rules."""
    copies = Copies(_labels(shards), asdict(rules), None)
    for number, digest in enumerate(digest for shard in shards for digest in _digests(shard)):
        found = copies.find(digest, number)
        if all(getattr(rules, copy.kind) == "keep" for copy in found):
            copies.keep(number, found)
        copies.withdraw(found)
    return copies


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
