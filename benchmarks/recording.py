"""Records on their way to the disk and back: what all of a run share, and the two files they become."""

import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.layouts import LAYOUTS
from benchmarks.load import load_averages
from benchmarks.table import Record, page
from engine.errors import UserError, describe_os_error
from engine.files import atomic_write
from engine.report.machine import machine, revision, versions

_EACH = ("ours", "peer", "metric", "started", "machine", "versions", "revision")


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
    """Write the records to `path`, one a line, and their table beside it as .md; nothing without either.

    Called after each record, so that an interrupted run leaves what it has measured.
    """
    if path is not None and records:
        write(path, "".join(json.dumps(record) + "\n" for record in records))
        write(path.with_suffix(".md"), page(records))


def read(path: Path) -> list[Record]:
    """The records of a file, one on each line. Raises UserError for a file of anything else."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise describe_os_error(error, path, "read") from None
    except ValueError:
        records = [None]
    if not all(isinstance(record, dict) and "stage" in record for record in records):
        raise UserError(f"{path} holds no records: give a file that a stage wrote with --json")
    for number, record in enumerate(records, 1):
        # Records of accuracy compare nothing and have pages of their own (bench_accuracy).
        if record["stage"] in LAYOUTS and not _is_whole(record):
            raise UserError(
                f"{path}: line {number} is not a whole record: give a file that a stage wrote with --json"
            )
    return records


def _is_whole(record: Record) -> bool:
    if not all(name in record for name in _EACH):
        return False
    if record.get("error"):
        return True
    try:
        low, median, high = (float(record["ratio"][key]) for key in ("low", "median", "high"))
    except (KeyError, TypeError, ValueError):
        return False
    return 0 < low <= median <= high < math.inf


def write(path: Path, text: str) -> None:
    """The text as a file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())
