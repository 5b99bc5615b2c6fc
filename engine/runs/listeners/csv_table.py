"""log.csv: a row for each epoch, for spreadsheets and data frames.

It is written anew, whole, after each epoch: a run that went on after an interruption has each epoch once, and a key
that only later epochs have gets its column.
"""

import csv
import io
import json
from typing import Any

from engine.files import atomic_write
from engine.runs.listeners.listener import Beginning
from engine.runs.log_reader import Line, build_history

NAME = "log.csv"


class CsvTable:
    """The epochs so far as a table. Columns are the keys of log.jsonl, in the order in which they first come."""

    def __init__(self, beginning: Beginning) -> None:
        self._path = beginning.folder / NAME
        self._lines = [*beginning.lines]

    def write(self, line: Line) -> None:
        """Raises OSError when the file can't be written."""
        self._lines.append(line)
        if line.get("kind") == "epoch":
            with atomic_write(self._path) as file:
                file.write(table(self._lines).encode())

    def close(self) -> None:
        """All is written already."""


def table(lines: list[Line]) -> str:
    """The log's epochs as CSV (RFC 4180). What was not measured is empty; lists and the like are JSON."""
    epochs = build_history(lines).epochs
    columns = list(dict.fromkeys(key for epoch in epochs for key in epoch if key != "kind"))
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(columns)
    rows.writerows([_cell(epoch.get(column)) for column in columns] for epoch in epochs)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, (int, float, str)) else json.dumps(value, ensure_ascii=False)
