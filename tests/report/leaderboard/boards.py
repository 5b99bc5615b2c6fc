"""Record files for the leaderboard's tests."""

from pathlib import Path
from typing import Any

from engine.runs.record.record_schema import RunRecord
from engine.runs.record.run_record import record_of, write_record
from tests.report.runs import parsed, run_config, whole_log


def put(folder: Path, lines: list[dict[str, Any]] | None = None, **sections: dict[str, Any]) -> RunRecord:
    """Write the record of a log into a new folder; of 16 epochs on ImageNet where none is given."""
    record = record_of(run_config(**sections), parsed(lines or whole_log(16)))
    assert record is not None
    folder.mkdir(parents=True)
    write_record(folder, record)
    return record


def run_of(top1: float, seconds: float, **result: Any) -> list[dict[str, Any]]:
    """A log with this accuracy and wall time; its end is dated by them, so that no two runs are one."""
    when = f"2026-11-21T13:00:{int(seconds) % 60:02d}+00:00"
    return whole_log(2, top1=top1, elapsed_seconds=seconds, time=when, **result)
