"""`python -m engine leaderboard [FOLDER...]`: finished runs and published points by accuracy, time and cost."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.command_line import CommandParser
from engine.ctrl_c import importing
from engine.errors import EXIT_DONE, UserError, describe_os_error
from engine.files import atomic_write

if TYPE_CHECKING:
    from engine.report.leaderboard.leaderboard_entries import Entry

_DESCRIPTION = """List finished runs beside published points: accuracy, time, time to target, cost.

Each FOLDER is searched for record.json files and for run folders. Repeats of a run (equal but for the seed, on one
machine) are one entry with mean and spread. Published points are others', and are never mixed with ours. The rules
are in docs/leaderboard.md."""

_DEFAULT = Path("runs")
_SCHEMA = 1


def main(argv: Sequence[str]) -> int:
    """Print the tables and write what was asked for; returns 0. Raises UserError for a folder that does not exist.

    A file that can't be read is named on stderr in a line of its own; the others are shown.
    """
    parser = CommandParser(
        "python -m engine leaderboard",
        _DESCRIPTION,
        "[FOLDER...] [--picture FILE.svg] [--html FILE] [--json]",
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        metavar="FOLDER",
        help="folder with runs or records, or a record.json; default: runs",
    )
    parser.add_argument(
        "--published",
        choices=("same", "all", "none"),
        default="same",
        help="which published points to show. same: of the data sets of the runs (of all where there is no run); "
        "default: same",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="write accuracy against time and cost to FILE.svg"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with pictures and tables to FILE"
    )
    parser.add_argument("--json", action="store_true", help="print the entries as JSON instead of tables")
    asked = parser.parse_args(argv)
    with importing():
        from engine.report.leaderboard.leaderboard_entries import measured_entries
        from engine.report.leaderboard.leaderboard_page import render
        from engine.report.leaderboard.leaderboard_picture import picture
        from engine.report.leaderboard.leaderboard_table import terminal_tables
        from engine.report.leaderboard.record_search import find_records

    found = find_records(asked.folders or ([_DEFAULT] if _DEFAULT.is_dir() else []))
    for fault in found.faults:
        print(f"note: {fault}", file=sys.stderr)
    if found.nothing_to_record:
        print(f"note: left out {_runs(found.nothing_to_record)} without a result", file=sys.stderr)
    measured = measured_entries(found.records)
    published = _published(asked.published, {entry.data for entry in measured})
    entries = [*measured, *published]
    # Before the tables: who reads only the first lines (| head) ends the command there.
    if asked.picture:
        if not any(entry.seconds for entry in entries):
            raise UserError("--picture: no entry has a time to draw: pass a folder with finished runs")
        _write("--picture", asked.picture, picture(entries))
    if asked.html:
        _write("--html", asked.html, render(entries))
    if asked.json:
        content = {"schema": _SCHEMA, "entries": [entry.to_json() for entry in entries]}
        print(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(terminal_tables(entries) or "no finished run and no published point to show")
    return EXIT_DONE


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _published(which: str, data: set[str]) -> list["Entry"]:
    from engine.knowledge.families import FAMILIES
    from engine.report.leaderboard.leaderboard_entries import published_entries

    if which == "none":
        return []
    entries = published_entries(FAMILIES.values())
    return [entry for entry in entries if which == "all" or not data or entry.data in data]


def _write(option: str, path: Path, content: str) -> None:
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder: name a file in it")
    try:
        with atomic_write(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise describe_os_error(error, path, "write") from None
    print(f"wrote {path}", file=sys.stderr)
