"""log.csv: each epoch once, whatever happened to the run."""

import csv
import json
from pathlib import Path

from engine.runs.listeners.csv_table import table
from tests.report.runs import epoch_lines, result_line, start_line
from tests.runs.listeners.listened import FACTS, open_record


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_epoch_with_all_that_the_log_says(tmp_path: Path) -> None:
    lines = epoch_lines(3)
    with open_record(tmp_path, "csv") as record:
        record.start(FACTS)
        for line in lines:
            record.epoch(line)
        record.finish(result_line(lines[-1]))
    rows = _rows(record.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    logged = [json.loads(row) for row in (record.folder / "log.jsonl").read_text().splitlines()][1:4]
    assert list(rows[0]) == [key for key in logged[0] if key != "kind"]
    assert [float(row["top1"]) for row in rows] == [line["top1"] for line in lines]


def test_a_run_that_went_on_has_each_epoch_once(tmp_path: Path) -> None:
    first, second, third = epoch_lines(3)
    with open_record(tmp_path, "csv") as record:
        record.start(FACTS)
        record.epoch(first)
        record.epoch(second | {"train_loss": 99.0})
    with open_record(tmp_path, "csv", resume=str(record.folder)) as record:
        record.start({**FACTS, "resumed_at_epoch": 1})
        record.epoch(second)
        record.epoch(third)
    rows = _rows(record.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[1]["train_loss"]) == second["train_loss"]


def test_what_was_not_measured_is_empty_and_a_later_key_has_its_column() -> None:
    first, second = epoch_lines(2)
    text = table(
        [start_line(), first | {"top1": None}, second | {"further": {"decode": 0.5}, "words": 'a, "b"\nc'}]
    )
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert rows[0]["top1"] == rows[0]["further"] == ""
    assert json.loads(rows[1]["further"]) == {"decode": 0.5}
    assert rows[1]["words"] == 'a, "b"\nc'
