"""The table of figures: which records have a row, and what it says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commands.figures import ROOT
from benchmarks.records.figures_section import section, with_section
from benchmarks.records.record_files import read
from engine.errors import UserError

RESULTS = ROOT / "benchmarks" / "results"


def test_packed_crops_are_marked_as_unfinished() -> None:
    rows = [line for line in section(RESULTS).splitlines() if line.startswith("| ") and "ffcv-jpeg" in line]
    told = ["a device still has to finish the images" in row for row in rows]
    assert told == ["`yuv420-packed`" in row for row in rows]
    assert any(told)


def ratio(value: float) -> dict[str, float]:
    return {"low": value, "median": value, "high": value}


def rows_of(folder: Path, *changes: dict[str, Any]) -> str:
    """The section from one committed record of the loader and copies of it with other values."""
    record = next(
        record for record in read(max(RESULTS.glob("loader_2-cores_*.json"))) if record["peer"] != "self"
    )
    text = "".join(json.dumps({**record, "ratio": ratio(2.5), **change}) + "\n" for change in ({}, *changes))
    (folder / "loader_x.json").write_text(text)
    return section(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"cache": "first"},
        {"cache": "cold"},
        {"short_run": "2999"},
        {"peer": "self"},
        {"error": "it broke", "failed": "it broke"},
    ],
)
def test_unusual_or_short_comparison_replaces_no_row(tmp_path: Path, change: dict[str, Any]) -> None:
    text = rows_of(tmp_path, {"started": "2999", "cores": 64, "ratio": ratio(77)} | change)
    assert "| 2.5 [2.5, 2.5] |" in text and "77 [77, 77] |" not in text


def test_peer_with_only_short_rounds_has_a_marked_row(tmp_path: Path) -> None:
    text = rows_of(
        tmp_path,
        {"peer": "dali-cpu", "short_run": "2999", "ratio": ratio(0.5)},
        {"stage": "read", "short_run": "2000"},
    )
    assert re.search(r"\| dali-cpu \| .*; short rounds \| 0\.5 \[0\.5, 0\.5\] \|", text)
    # The newest run of all stages is told with what it lost.
    assert "Of the comparisons of all stages: 0 won, 1 lost, 0 level" in text
    assert "([which](../benchmarks/results/loader_x_report.md))" in text


def test_text_without_markers_is_refused() -> None:
    with pytest.raises(UserError, match="lacks the lines around"):
        with_section("no markers", "body")
