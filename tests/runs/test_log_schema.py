"""The log's schema: what is read, kept and written of a line, and the page that is made from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.runs.evaluation_schema import ClassAccuracy
from engine.runs.log_fields import JsonTable, log_fields
from engine.runs.log_reader import parse_log
from engine.runs.log_schema import (
    LINES,
    EpochLine,
    OtherLine,
    ResultLine,
    StartLine,
    line_of,
    validation_fields,
)
from engine.runs.schema_page import COMMAND, page
from tests.report.run.test_evaluation import LOGS as EVALUATIONS
from tests.report.runs import epoch_lines, start_line, steps_lines, whole_log


@pytest.mark.parametrize(
    "line", [*whole_log(2), *steps_lines(1, [3.0]), *EVALUATIONS["few"]], ids=lambda line: str(line["kind"])
)
def test_line_round_trip_keeps_all_keys(line: dict[str, Any]) -> None:
    read = line_of(line)
    assert read.extra == {}
    assert read.to_json() == line


def test_unknown_keys_are_kept_at_every_depth() -> None:
    line = start_line(new="x", machine={"cpu": "y", "tpus": [1]})
    read = line_of(line)
    assert isinstance(read, StartLine) and read.machine is not None
    assert (read.extra, read.machine.extra) == ({"new": "x"}, {"tpus": [1]})
    assert read.to_json() == line


def test_line_of_unknown_kind_is_kept_and_ignored() -> None:
    for content in ({"kind": "pause", "epoch": "x"}, {"a": 1}):
        read = line_of(content)
        assert isinstance(read, OtherLine)
        assert read.to_json() == content


def test_null_and_absent_keys_stay_distinct() -> None:
    line = EpochLine(epoch=1, top1=None)
    assert line.top1 is None and line.ema_top1 is None
    assert line.to_json() == {"kind": "epoch", "epoch": 1, "top1": None}
    assert line.replaced(ema_top1=None).to_json() == {
        "kind": "epoch",
        "epoch": 1,
        "ema_top1": None,
        "top1": None,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": None},
        {"epoch": 1.5},
        {"epoch": True},
        {"top1": "0.5"},
        {"top1": True},
        {"limits": 3},
        {"limits": {"workers": "two"}},
        {"limited_by": 1},
    ],
)
def test_value_of_wrong_type_makes_the_line_unreadable(changes: dict[str, Any]) -> None:
    row = json.dumps(epoch_lines(1)[0] | changes).encode()
    assert parse_log(row) == ([], 1)


def test_integral_floats_are_read_as_integers() -> None:
    (line,), _ = parse_log(json.dumps(epoch_lines(1)[0] | {"epoch": 1.0}).encode())
    assert isinstance(line, EpochLine) and type(line.epoch) is int


def test_misspelt_field_is_refused() -> None:
    with pytest.raises(TypeError, match="tpo1"):
        ResultLine(tpo1=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="tpo1"):
        ResultLine().replaced(tpo1=0.5)


def test_python_keyword_key_has_another_field_name() -> None:
    entry = ClassAccuracy.from_json({"class": "cat", "images": 3, "top1": None, "top5": 1.0})
    assert entry.name == "cat"
    assert list(entry.to_json()) == ["class", "images", "top1", "top5"]


def test_validation_fields_exist_in_epoch_and_result_lines() -> None:
    for line in (EpochLine(epoch=1), ResultLine()):
        for prefix in ("", "ema_"):
            line = line.replaced(**validation_fields(None, prefix))
    assert set(validation_fields(None)) == {"top1", "top5", "top1_no_tta", "top5_no_tta", "val_loss"}


def _tables(table: type[JsonTable] = JsonTable) -> list[type[JsonTable]]:
    return [table, *(inner for below in table.__subclasses__() for inner in _tables(below))]


def test_every_field_is_described() -> None:
    assert len(_tables()) > 15 and len(LINES) == 6
    for table in _tables():
        for spec in log_fields(table):
            description = spec.metadata["description"]
            assert (
                len(description) >= len("top-1") and "|" not in description and not description.endswith(".")
            ), spec.name


def test_schema_page_is_current(repository: Path) -> None:
    text = (repository / "docs/reference/log_schema.md").read_text()
    assert text == page(), f"run {COMMAND}"
    for table in (
        "`global_step`",
        "[Limits](#limits)",
        "## Limits",
        "`ece`",
        "`class`",
        "## evaluation.json",
    ):
        assert table in text
