"""Records of finished runs, found in folders: record.json files, and run folders from before there were any."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import UserError
from engine.runs.folder import CHECKPOINTS, CONFIG, LOG, RECORD, TENSORBOARD, WANDB
from engine.runs.log_reader import read_config, read_log
from engine.runs.record.record_schema import RunRecord
from engine.runs.record.run_record import read_record, record_of

_NOT_SEARCHED = {CHECKPOINTS, TENSORBOARD, WANDB}
_FURTHER = f".{RECORD}"
"""Records that were copied out of their folders may be called NAME.record.json."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The records by file, each run once, and a line for each file that can't be read."""

    records: list[tuple[Path, RunRecord]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    nothing_to_record: int = 0
    """Run folders without a record: unfinished runs, replays, runs that only validated."""


def find_records(places: Sequence[Path]) -> Found:
    """Every record in these files and below these folders. Raises UserError for a place that does not exist."""
    found: dict[tuple[object, ...], tuple[Path, RunRecord]] = {}
    faults: list[str] = []
    nothing = 0
    for path in dict.fromkeys(file for place in places for file in _files(place)):
        try:
            record = _read(path)
        except UserError as error:
            faults.append(str(error))
            continue
        if record is None or record.top1 is None:
            nothing += 1
            continue
        # A copy of a record is the same run.
        same = (record.name, record.date, record.seed, record.settings, record.top1, record.elapsed_seconds)
        found.setdefault(same, (path, record))
    return Found(records=[*found.values()], faults=faults, nothing_to_record=nothing)


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise UserError(f"{place} does not exist: pass a folder with runs, or a {RECORD}")
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if name not in _NOT_SEARCHED and not name.startswith("."))
        here = Path(folder)
        records = sorted(name for name in names if name == RECORD or name.endswith(_FURTHER))
        yield from (here / name for name in records)
        if RECORD not in names and LOG in names:
            yield here / LOG


def _read(path: Path) -> RunRecord | None:
    """None where a log has nothing to record. Raises UserError for a file that is damaged or something else."""
    if path.name != LOG:
        return read_record(path)
    lines, _ = read_log(path)
    return record_of(read_config(path.with_name(CONFIG)), lines) if lines else None
