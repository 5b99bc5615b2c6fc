"""One split -> one .beton that stock ffcv reads as well. Encoding is spread over processes; writing is not.

The parent lays the records into pages in the plan's order and writes them one after the other, so the file is the
same for any number of workers and interruptions, and the disk is written sequentially. The writer's state is a
function of the chunks so far: those of the journal first, where an earlier run was interrupted, then those of the
workers. ffcv's own DatasetWriter is not used: it waits for ever once a worker has died, and its file's order depends
on the workers' timing.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.config.options import options_of
from engine.config.write import RulesConfig, WriteConfig
from engine.data.beton.manifest import Manifest
from engine.data.beton.writer import BetonWriter, image_fields
from engine.data.convert.chunk import STORED, Records, Reject
from engine.data.convert.conversion_plan import Plan
from engine.data.convert.duplicates import DIGEST_BYTES, Copies, Copy, digests_as_text
from engine.data.convert.journal import Entry, rules_as_text, settings, versions
from engine.data.convert.partial_file import Partial
from engine.data.sources.base import printable
from engine.data.storage.formats import count_modes, describe_modes, named
from engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The state after a chunk, and the rows and rejects it added."""

    done: int = 0
    offset: int = 0
    odd: Counter[str] = field(default_factory=Counter)
    rejects: tuple[tuple[str, str, str], ...] = ()
    stored: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, STORED))
    withdrawn: tuple[int, ...] = ()


class SplitWriter:
    """Writes the file of one plan: each chunk of its images is taken once, in order, by `replay` or `take`.

    `val` is the validation split's writer where this one is of the training split: for images that are in both.
    """

    def __init__(
        self, partial: Partial, plan: Plan, config: WriteConfig, val: "SplitWriter | None" = None
    ) -> None:
        output = config.output
        self.partial, self.plan = partial, plan
        self.rejects: list[tuple[str, str, str]] = []
        self.duplicates: list[tuple[str, str]] = []
        self._settings = settings(config)
        self._output, self.rules, self._val = output, rules_as_text(config.rules), val
        self._labels = np.asarray(plan.images.labels, np.int64)
        self._copies: Copies = Copies(self._labels, self.rules, val._copies if val else None)
        self.conflict = ""
        """The first image that has the same content as one of another class, in words."""
        self._numbers: list[NDArray[np.int64]] = []
        self._digests: list[bytes] = []
        self._modes = np.zeros(256, np.int64)
        self.bytes = 0
        """Of all records in the file so far."""
        self._last, self._fresh = _Step(), list[_Step]()
        descriptors = image_fields(named(output.format)[0], output.short_side, output.max_resolution)
        self._writer = BetonWriter(partial.file, descriptors, output.page_size * 2**20, len(plan))

    @property
    def done(self) -> int:
        """Images of the plan that are done, stored or not."""
        return self._last.done

    @property
    def odd(self) -> Counter[str]:
        """Kind of odd image -> how many there were, stored or not."""
        return self._last.odd

    @property
    def stored(self) -> int:
        """Images in the file so far."""
        return self._writer.count

    @property
    def offset(self) -> int:
        """Bytes of the file so far."""
        return self._writer.offset

    def replay(self, entry: Entry) -> None:
        """Take over a chunk that an interrupted run has written."""
        rows = entry.stored
        self._enter(rows)
        self._writer.resume(*self._metadata(rows))
        for number, digest in _digests(rows):
            self._note(number, self._find_copies(number, digest))
        self.rejects += entry.rejects
        self._copies.withdrawn.update(entry.withdrawn)
        of_conflict = (f"{name}: {reason}" for name, kind, reason in entry.rejects if kind == "conflict")
        self.conflict = self.conflict or next(of_conflict, "")
        self._last = _Step(done=entry.done, offset=entry.offset, odd=Counter(entry.odd))
        assert not len(rows) or self._writer.offset == entry.offset

    def take(self, records: Records, payload: memoryview) -> None:
        """Write a chunk, whose records lie in `payload` one after the other.

        Raises UserError for an image that is to end the conversion by its rule, OSError when it can't be written.
        """
        odd, rejects = self._last.odd + records.odd, list(records.rejects)
        for reject in records.rejects:
            self._check(reject)
        keep = np.ones(len(records.stored), np.bool_)
        withdrawn: list[int] = []
        for row, (number, digest) in enumerate(_digests(records.stored)):
            copies = self._find_copies(number, digest)
            odd.update({copy.kind for copy in copies})
            for copy in [copy for copy in copies if self.rules[copy.kind] != "keep"][:1]:
                reject = self._as_reject(number, copy)
                self._check(reject)
                rejects.append(reject)
                keep[row] = False
            also = self._copies.withdraw(copies)
            rejects += [self._as_reject(first, Copy("conflict", number)) for first in also]
            withdrawn += also
            self._note(number, copies if keep[row] else [])
        odd.update(["conflict"] * len(withdrawn))
        if not keep.all():
            ends = np.cumsum(records.stored["size"]).tolist()
            starts = [0, *ends[:-1]]
            payload = memoryview(b"".join(payload[starts[row] : ends[row]] for row in np.flatnonzero(keep)))
        rows = records.stored[keep]
        self._writer.append(*self._metadata(rows), payload)
        self._enter(rows)
        listed = tuple((self.plan.images.ids[r.number], r.kind, r.reason) for r in _in_order(rejects))
        self.rejects += listed
        done = self._last.done + records.count
        # Wherever this is interrupted: either the whole chunk was taken, or the next entry does not list it.
        self._last = _Step(
            done=done, offset=self.offset, odd=odd, rejects=listed, stored=rows, withdrawn=tuple(withdrawn)
        )
        self._fresh.append(self._last)

    def entry(self) -> Entry:
        """All that was taken since the last call, for the journal."""
        fresh, self._fresh = self._fresh, []
        return Entry(
            done=self._last.done,
            offset=self._last.offset,
            rejects=[reject for step in fresh for reject in step.rejects],
            withdrawn=[number for step in fresh for number in step.withdrawn],
            odd=dict(self._last.odd),
            rules=self.rules,
            stored=np.concatenate([np.zeros(0, STORED), *(step.stored for step in fresh)]),
        )

    def finish(self) -> None:
        """Write the tables and the manifest, and note that the file is complete.

        Raises UserError when no image is left to store.
        """
        self._drop_withdrawn()
        if not self.stored:
            kinds = ", ".join(sorted({kind for _, kind, _ in self.rejects}))
            raise UserError(
                f"all {self.done} images of {self.plan.split} were left out by rules.({kinds}): see --help"
            )
        self._writer.finish(self._manifest())
        self.partial.finished(self.entry())

    def _drop_withdrawn(self) -> None:
        numbers = np.concatenate([np.zeros(0, np.int64), *self._numbers])
        rows = np.flatnonzero(np.isin(numbers, list(self._copies.withdrawn)))
        if not len(rows):
            return
        self._modes -= np.bincount(self._writer.drop(rows)["mode"], minlength=256)
        self._numbers = [np.delete(numbers, rows)]
        gone = {self.plan.images.ids[number] for number in numbers[rows]}
        self.duplicates = [pair for pair in self.duplicates if pair[0] not in gone]
        # They were listed when the conflict was found, not where they lie.
        place = {name: place for place, name in enumerate(self.plan.images.ids)}
        self.rejects.sort(key=lambda reject: place[reject[0]])

    def modes(self) -> str:
        """How many images are stored how, in words."""
        return describe_modes(self._all_modes())

    def _all_modes(self) -> NDArray[np.uint8]:
        """The stored images' modes, sorted."""
        return np.repeat(np.arange(256, dtype=np.uint8), self._modes)

    def _metadata(
        self, rows: NDArray[np.void]
    ) -> tuple[NDArray[np.void], NDArray[np.int64], list[int], list[int]]:
        """As BetonWriter takes it."""
        return rows["image"], self._labels[rows["number"]], rows["size"].tolist(), rows["crc32"].tolist()

    def _enter(self, rows: NDArray[np.void]) -> None:
        self._numbers.append(rows["number"].copy())
        if self._output.shard:
            self._digests.append(rows["digest"].tobytes())
        self.bytes += int(rows["size"].sum())
        self._modes += np.bincount(rows["image"]["mode"], minlength=256)

    def _find_copies(self, number: int, digest: bytes) -> list[Copy]:
        # A shard does not know the others' images: its digests go into its manifest, and merging compares them all.
        copies = [] if self._output.shard else self._copies.find(digest, number)
        for copy in copies:
            if copy.kind == "conflict" and not self.conflict:
                self.conflict = f"{self.plan.images.ids[number]}: {self._reason(number, copy)}"
        return copies

    def _name(self, copy: Copy) -> str:
        if copy.in_val and self._val is not None:
            return f"val: {self._val.plan.images.ids[copy.first]}"
        return self.plan.images.ids[copy.first]

    def _reason(self, number: int, copy: Copy) -> str:
        """Why the image is rejected as this copy, in words."""
        if copy.kind != "conflict":
            return f"it has the same content as {self._name(copy)}"
        labels = self._val._labels if copy.in_val and self._val is not None else self._labels
        ours, theirs = (
            printable(self.plan.images.classes[one]) for one in (self._labels[number], labels[copy.first])
        )
        if ours == theirs:
            return (
                f"it has the same content as {self._name(copy)}, which was left out for a further one's class"
            )
        return f"it is of class {ours} and has the same content as {self._name(copy)}, of class {theirs}"

    def _note(self, number: int, copies: list[Copy]) -> None:
        names = dict.fromkeys(self._name(copy) for copy in copies)
        self.duplicates += [(self.plan.images.ids[number], first) for first in names]
        self._copies.keep(number, copies)

    def _as_reject(self, number: int, copy: Copy) -> Reject:
        where = self.plan.images.where(number)
        return Reject(number=number, kind=copy.kind, reason=self._reason(number, copy), where=where)

    def _check(self, reject: Reject) -> None:
        """Raise UserError unless the image may be left out."""
        if self.rules[reject.kind] != "fail":
            return
        others = [rule for rule in options_of(RulesConfig)[reject.kind].choices if rule != "fail"]
        ways = " or ".join(f"--rules.{reject.kind}={rule}" for rule in others)
        reason = " ".join(reject.reason.split())
        raise UserError(
            f"cannot use image {reject.where}: {reason}: pass {ways}, with which the conversion resumes; if images are "
            "removed it starts anew"
        )

    def _manifest(self) -> Manifest:
        plan, output = self.plan, self._output
        numbers = np.concatenate(self._numbers)
        return Manifest(
            split=plan.split,
            classes=tuple(plan.images.classes),
            ids=tuple(plan.images.ids[number] for number in numbers),
            source=plan.images.kind,
            settings=self._settings,
            versions=versions(),
            counts={"samples": self.stored, **count_modes(self._all_modes())},
            created_by="write_dataset.py",
            order=output.order,
            source_numbers=tuple(plan.numbers[numbers].tolist()),
            rules=self.rules,
            odd={kind: count for kind, count in sorted(self.odd.items()) if count},
            rejects=tuple(self.rejects),
            duplicates=tuple(self.duplicates),
            shard=output.shard,
            digests=digests_as_text(b"".join(self._digests)),
            found=plan.found if output.shard else 0,
            found_digest=plan.found_digest if output.shard else "",
            license=output.license,
        )


def _digests(rows: NDArray[np.void]) -> list[tuple[int, bytes]]:
    """(number, digest) of each."""
    digests = rows["digest"].tobytes()
    return [
        (number, digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])
        for row, number in enumerate(rows["number"].tolist())
    ]


def _in_order(rejects: list[Reject]) -> list[Reject]:
    return sorted(rejects, key=lambda reject: reject.number)
