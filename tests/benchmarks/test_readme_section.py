"""The README's figures are those of the committed records: it is made from them, and may not drift."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.readme_section import BEGIN, END, ROOT, section, with_section
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


def test_without_its_markers_nothing_is_written() -> None:
    with pytest.raises(UserError, match="lacks the lines between which"):
        with_section("no markers", "body")
