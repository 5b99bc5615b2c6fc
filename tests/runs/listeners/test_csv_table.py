"""log.csv: each epoch once, whatever happened to the run."""

import csv
import json
from pathlib import Path

from engine.runs.listeners.csv_table import table
from tests.report.runs import epoch_lines, epoch_of, parsed, result_line, result_of, start_line, start_of
from tests.runs.listeners.listened import FACTS, open_record


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_has_a_row_for_each_epoch_with_all_keys(tmp_path: Path) -> None:
    lines = epoch_lines(3)
    with open_record(tmp_path, "csv") as record:
        record.start(start_of(FACTS))
        for line in lines:
            record.epoch(epoch_of(line))
        record.finish(result_of(result_line(lines[-1])))
    rows = _rows(record.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    logged = [json.loads(row) for row in (record.folder / "log.jsonl").read_text().splitlines()][1:4]
    assert list(rows[0]) == [key for key in logged[0] if key != "kind"]
    assert [float(row["top1"]) for row in rows] == [line["top1"] for line in lines]


def test_resumed_run_has_each_epoch_once(tmp_path: Path) -> None:
    first, second, third = epoch_lines(3)
    with open_record(tmp_path, "csv") as record:
        record.start(start_of(FACTS))
        record.epoch(epoch_of(first))
        record.epoch(epoch_of(second | {"train_loss": 99.0}))
    with open_record(tmp_path, "csv", resume=str(record.folder)) as record:
        record.start(start_of({**FACTS, "resumed_at_epoch": 1}))
        record.epoch(epoch_of(second))
        record.epoch(epoch_of(third))
    rows = _rows(record.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[1]["train_loss"]) == second["train_loss"]


def test_nulls_are_empty_and_later_keys_get_columns() -> None:
    first, second = epoch_lines(2)
    further = {"further": {"decode": 0.5}, "words": 'a, "b"\nc'}
    text = table(parsed([start_line(), first | {"top1": None}, second | further]))
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert rows[0]["top1"] == rows[0]["further"] == ""
    assert json.loads(rows[1]["further"]) == {"decode": 0.5}
    assert rows[1]["words"] == 'a, "b"\nc'
