"""log.csv: a row for each epoch, for spreadsheets and data frames.

The whole file is written anew after each epoch: a resumed run has each epoch once, and a key that only later epochs
have gets its column.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from engine.files import atomic_write
from engine.runs.folder import CSV_TABLE
from engine.runs.listeners.listener import LISTENERS, Beginning
from engine.runs.log_reader import build_history
from engine.runs.log_schema import EpochLine, LogLine


@LISTENERS.register("csv")
class CsvTable:
    """The epochs so far as a table. Columns are the keys of log.jsonl, in the order in which they first come."""

    def __init__(self, beginning: Beginning) -> None:
        self._path = beginning.folder / CSV_TABLE
        self._lines = [*beginning.lines]

    def write(self, line: LogLine) -> None:
        """Raises OSError when the file can't be written."""
        self._lines.append(line)
        if isinstance(line, EpochLine):
            with atomic_write(self._path) as file:
                file.write(table(self._lines).encode())

    def close(self) -> None:
        """Everything is written already."""


def table(lines: Sequence[LogLine]) -> str:
    """The log's epochs as CSV (RFC 4180). Nulls are empty; lists and tables are JSON."""
    epochs = [epoch.to_json() for epoch in build_history(lines).epochs]
    columns = list(dict.fromkeys(key for epoch in epochs for key in epoch if key != "kind"))
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(columns)
    rows.writerows(
        [_cell(epoch[column]) if column in epoch else "" for column in columns] for epoch in epochs
    )
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, (int, float, str)) else json.dumps(value, ensure_ascii=False)
