"""The README's figures are those of the committed records: it is made from them, and may not drift."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.records.readme_section import BEGIN, END, ROOT, section, with_section
from benchmarks.records.record_files import read
from engine.errors import UserError

RESULTS = ROOT / "benchmarks" / "results"


def test_the_readme_is_up_to_date() -> None:
    assert main(["readme", "--check"]) == 0, "run `python -m benchmarks readme` and commit README.md"


def test_a_changed_record_is_drift_until_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    for path in RESULTS.glob("loader_*.json"):
        shutil.copy(path, results)
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    argv = ["readme", f"--readme={readme}", f"--results={results}"]
    assert main([*argv, "--check"]) == 1
    assert "run `python -m benchmarks readme`" in capsys.readouterr().out
    assert main(argv) == 0 and main([*argv, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    newest = max(results.glob("loader_*.json"))
    records = [json.loads(line) for line in newest.read_text().splitlines()]
    for record in records:
        record["ratio"] = {"low": 0.5, "median": 0.625, "high": 0.75}
    newest.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main([*argv, "--check"]) == 1
    main(argv)
    assert "0.625 [0.5, 0.75]" in readme.read_text()


def test_packed_crops_are_told_to_be_unfinished() -> None:
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
def test_what_is_no_full_comparison_of_usual_epochs_takes_no_row_s_place(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    text = rows_of(tmp_path, {"started": "2999", "cores": 64, "ratio": ratio(77)} | change)
    assert "| 2.5 [2.5, 2.5] |" in text and "77 [77, 77] |" not in text


def test_a_peer_of_short_rounds_alone_has_a_row_that_says_so(tmp_path: Path) -> None:
    text = rows_of(
        tmp_path,
        {"peer": "dali-cpu", "short_run": "2999", "ratio": ratio(0.5)},
        {"stage": "read", "short_run": "2000"},
    )
    assert re.search(r"\| dali-cpu \| .*; short rounds \| 0\.5 \[0\.5, 0\.5\] \|", text)
    # The newest run of all stages is told with what it lost.
    assert "Of the comparisons of all stages: 0 won, 1 lost, 0 level" in text
    assert "([which](benchmarks/results/loader_x_report.md))" in text


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*missing\.md"):
        main(["readme", f"--readme={tmp_path}/missing.md"])
    with pytest.raises(UserError, match=r"--results .*nowhere is no folder"):
        main(["readme", "--check", f"--results={tmp_path}/nowhere"])


def test_without_its_markers_nothing_is_written() -> None:
    with pytest.raises(UserError, match="lacks the lines between which"):
        with_section("no markers", "body")
