"""Files of records: one JSON object a line, and beside it their tables as Markdown."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.records.layouts import LAYOUTS, Record
from benchmarks.records.record_table import page
from engine.errors import UserError, describe_os_error
from engine.files import atomic_write

_EACH = ("ours", "peer", "metric", "started", "machine", "versions", "revision")


def save(path: Path | None, records: Sequence[Record]) -> None:
    """Write the records to `path`, one a line, and their tables beside it as .md; nothing where either is missing."""
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
        # Records of the accuracy stage compare nothing (records/accuracy_table.py).
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
