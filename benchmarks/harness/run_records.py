"""The records of one run: saved after each comparison, and printed as a table at the end."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness.processes.usage import load_averages
from benchmarks.records.layouts import Record
from benchmarks.records.record_files import save
from benchmarks.records.record_table import table
from engine.runs.machine import machine, revision, versions


def context() -> Record:
    """What all records of a run share: time, machine, load, cores, versions and revision."""
    source = revision()
    changed = " with uncommitted changes" if source and source["dirty"] else ""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_at_start": load_averages(),
        "kept_to": sorted(os.sched_getaffinity(0)),
        "versions": versions(),
        "revision": source["commit"] + changed if source else "unknown (not a git checkout)",
    }


def made(record: Record) -> bool:
    """Whether the comparison was made."""
    return not record.get("error")


class RunRecords:
    """Collects a run's records; `path` is the file of --json, or None."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._shared = path, context()
        self.records: list[Record] = []

    def add(self, *parts: Record) -> None:
        """Join the parts to a record and save it, so that an interrupted run keeps what it has measured."""
        record: Record = {}
        for part in (*parts, self._shared):
            record.update(part)
        self.records.append(record)
        save(self._path, self.records)

    def end(self, passed: Callable[[Record], bool] = made) -> int:
        """Print the table; returns exit code 0 where all records passed, else 1."""
        if self.records:
            print(f"\n{table(self.records)}")
        return 0 if all(map(passed, self.records)) else 1
