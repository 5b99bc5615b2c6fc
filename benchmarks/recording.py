"""Records on their way to the disk: what all of a run share, and the two files they become."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load import load_averages
from benchmarks.table import Record, page
from engine.files import atomic_write
from engine.report.machine import machine, revision, versions


def context() -> Record:
    """What all records of a run share: when, on what, with what, beside what load and on which of the cores."""
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


def save(path: Path | None, records: Sequence[Record]) -> None:
    """Write the records to `path`, one a line, and their table beside it as .md; nothing without a path.

    Called after each record, so that an interrupted run leaves what it has measured.
    """
    if path is not None:
        write(path, "".join(json.dumps(record) + "\n" for record in records))
        write(path.with_suffix(".md"), page(records))


def write(path: Path, text: str) -> None:
    """The text as a file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())
