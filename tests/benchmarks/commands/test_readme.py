"""`readme`: the README's figures are those of the committed records."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.commands.readme import ROOT
from benchmarks.records.readme_section import BEGIN, END
from engine.errors import UserError


def test_readme_is_up_to_date() -> None:
    assert main(["readme", "--check"]) == 0, "run `python -m benchmarks readme` and commit README.md"


RESULTS = ROOT / "benchmarks" / "results"


def test_changed_record_is_reported_until_it_is_written(
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


def test_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*missing\.md"):
        main(["readme", f"--readme={tmp_path}/missing.md"])
    with pytest.raises(UserError, match=r"--results .*nowhere is no folder"):
        main(["readme", "--check", f"--results={tmp_path}/nowhere"])
