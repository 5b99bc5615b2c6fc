"""What a leaderboard lists: our measured runs, repeats of one taken together, and published points; never mixed."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.knowledge.families import FAMILIES, Family, Point
from engine.report import text
from engine.report.terminal.summary import measured_as
from engine.runs.log_schema import Machine
from engine.runs.record.record_schema import RunRecord


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the board: a measured recipe on a machine, or a published point."""

    published: bool
    """By others, not measured by this project."""
    data: str
    network: str
    name: str
    """The recipe; of a published point, whose it is."""
    machine: str
    top1: float
    """A share, the mean of the runs."""
    top1_sd: float | None = None
    """Standard deviation between the runs, where there are at least two."""
    how: str = ""
    """How the accuracy was measured."""
    runs: int = 1
    epochs: float | None = None
    seconds: float | None = None
    """Wall time of a whole run, the mean; of a published point, on its publisher's clock."""
    target: float | None = None
    reached: int | None = None
    """Runs that reached the target; None without one."""
    to_target_seconds: float | None = None
    """First image read to the target evaluated, the mean; None unless each of the runs reached it."""
    cost: float | None = None
    started_from: str = ""
    """Weights that training started from; empty: from scratch."""
    source: str = ""
    date: str = ""
    command: str = ""

    @property
    def rank_seconds(self) -> float | None:
        """By which entries are sorted: the time to the target, without one the whole run's."""
        return self.to_target_seconds if self.to_target_seconds is not None else self.seconds

    def to_json(self) -> dict[str, Any]:
        """As an object for programs: seconds, shares, null for what is not known."""
        return asdict(self)


def measured_entries(records: Sequence[tuple[Path, RunRecord]]) -> list[Entry]:
    """One entry for the runs of equal data, settings and machine, best first."""
    groups: dict[tuple[object, ...], list[tuple[Path, RunRecord]]] = defaultdict(list)
    for path, record in records:
        # A record without a digest of its settings is a run of its own.
        alike = record.settings or str(path)
        kind = (
            _data(record),
            record.num_val,
            record.recipe,
            alike,
            machine_words(record),
            record.target_top1,
        )
        groups[kind].append((path, record))
    return in_order([_entry(group) for group in groups.values()])


def _entry(group: Sequence[tuple[Path, RunRecord]]) -> Entry:
    records = [record for _, record in group]
    path, last = max(group, key=lambda one: one[1].date or "")
    top1 = [record.top1 for record in records if record.top1 is not None]
    averaged = ", averaged weights" if last.averaged else ""
    started = f"; started from {last.started_from}" if last.started_from else ""
    return Entry(
        published=False,
        data=_data(last),
        network=last.arch or text.MISSING,
        name=last.recipe or last.name or text.MISSING,
        machine=machine_words(last),
        top1=statistics.fmean(top1),
        top1_sd=statistics.stdev(top1) if len(top1) > 1 else None,
        how=measured_as(last.val_resolution, last.val_ratio, last.val_crop_law, tta=bool(last.tta))
        + averaged
        + started,
        runs=len(records),
        epochs=_mean(record.epochs for record in records),
        seconds=_mean(record.elapsed_seconds for record in records),
        target=last.target_top1,
        reached=None if last.target_top1 is None else sum(one >= last.target_top1 for one in top1),
        to_target_seconds=_mean(record.time_to_target_seconds for record in records),
        cost=_mean(record.cost for record in records),
        started_from=last.started_from or "",
        source=str(path),
        date=(last.date or "")[:10],
        command=last.command or "",
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean; None unless all are known: a mean of those that reached the target would flatter."""
    known = [*values]
    return statistics.fmean(value for value in known if value is not None) if None not in known else None


def _data(record: RunRecord) -> str:
    """A run of a family has the family's data; the name in its record may be its files' only."""
    family = FAMILIES.get(record.family or "")
    found = record.data
    if family and found and (found.num_train, found.num_val) == (family.num_train, family.num_val):
        return family.data
    return (record.data and record.data.name) or "unknown data"


def machine_words(record: RunRecord) -> str:
    """What a run trained on, in a few words."""
    machine, ranks = record.machine or Machine(), record.world_size or 1
    if record.device != "cpu" and machine.gpus:
        return f"{ranks} × {machine.gpus[0]}"
    if machine.cores is None and machine.cpu is None:
        return text.MISSING
    plural = "" if machine.cores == 1 else "s"
    return f"{machine.cores or '?'} core{plural} of {machine.cpu or '?'}"


def published_entries(families: Iterable[Family]) -> list[Entry]:
    """An entry for each published point whose minutes are known; our measured families are left out."""
    found = []
    for family in families:
        for point in () if family.measured else (*family.points, *family.unfitted):
            if point.minutes:
                found.append(_published(family, point))
    return in_order(found)


def _published(family: Family, point: Point) -> Entry:
    return Entry(
        published=True,
        data=family.data,
        network=family.network,
        name=family.title,
        machine=point.hardware or text.MISSING,
        top1=point.top1,
        top1_sd=point.sd,
        how=point.note or family.note,
        runs=point.runs,
        epochs=point.epochs,
        seconds=60 * (point.minutes or 0.0),
        source=point.source or family.source,
    )


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """By data set, then the shortest time (unknown ones last), then the highest accuracy."""
    return sorted(
        entries,
        key=lambda one: (
            one.data,
            one.rank_seconds is None,
            one.rank_seconds or 0.0,
            -one.top1,
            one.name,
        ),
    )


def on_the_frontier(entries: Sequence[Entry]) -> set[int]:
    """Indices of the entries than which no other of the same data is both as fast and as accurate.

    Only those with a time that were trained from scratch are compared.
    """
    compared = [
        (index, one) for index, one in enumerate(entries) if one.seconds is not None and not one.started_from
    ]
    return {
        index
        for index, one in compared
        if not any(other.data == one.data and _dominates(other, one) for _, other in compared)
    }


def _dominates(one: Entry, other: Entry) -> bool:
    if one.seconds is None or other.seconds is None:
        return False
    as_good = one.seconds <= other.seconds and one.top1 >= other.top1
    return as_good and (one.seconds, one.top1) != (other.seconds, other.top1)
