"""`figures`: the figures of docs/benchmarks.md are those of the committed records."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.commands.figures import ROOT
from benchmarks.records.figures_section import BEGIN, END
from engine.errors import UserError


def test_committed_page_is_up_to_date() -> None:
    assert main(["figures", "--check"]) == 0, (
        "run `python -m benchmarks figures` and commit docs/benchmarks.md"
    )


RESULTS = ROOT / "benchmarks" / "results"


def test_changed_record_is_reported_until_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = tmp_path / "results", tmp_path / "benchmarks.md"
    results.mkdir()
    for path in RESULTS.glob("loader_*.json"):
        shutil.copy(path, results)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    argv = ["figures", f"--page={page}", f"--results={results}"]
    assert main([*argv, "--check"]) == 1
    assert "run `python -m benchmarks figures`" in capsys.readouterr().out
    assert main(argv) == 0 and main([*argv, "--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    newest = max(results.glob("loader_*.json"))
    records = [json.loads(line) for line in newest.read_text().splitlines()]
    for record in records:
        record["ratio"] = {"low": 0.5, "median": 0.625, "high": 0.75}
    newest.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main([*argv, "--check"]) == 1
    main(argv)
    assert "0.625 [0.5, 0.75]" in page.read_text()


def test_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*missing\.md"):
        main(["figures", f"--page={tmp_path}/missing.md"])
    with pytest.raises(UserError, match=r"--results .*nowhere is not a folder"):
        main(["figures", "--check", f"--results={tmp_path}/nowhere"])


def test_old_name_runs_figures_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readme", "--check"]) == 0
    assert "note: `readme` is now called `figures`" in capsys.readouterr().err
