"""`report`: both files are written, and bad input is refused in one line."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.method import failed
from benchmarks.records.record_files import read
from engine.errors import UserError

FOLDER = Path(__file__).parents[3] / "benchmarks" / "results"


RESULTS = sorted(FOLDER.glob("loader_*-25.json"))


def test_report_of_all_committed_records_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(map(str, RESULTS[0].parent.glob("*.json")))
    assert main(["report", *files, f"--html={tmp_path}/r.html"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.md").read_text().startswith("# Benchmarks\n")
    assert str(tmp_path / "r.md") in capsys.readouterr().out


def test_output_that_would_replace_a_record_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "n.json"
    shutil.copy(RESULTS[0], source)
    os.mkfifo(tmp_path / "pipe")
    for options in (
        [f"--html={source}"],
        [f"--html={tmp_path}/r.html", f"--markdown={tmp_path}/../{tmp_path.name}/n.json"],
        [f"--html={tmp_path}/r.md"],
        [f"--html={tmp_path}/pipe"],
        [f"--html={tmp_path}"],
        [f"--html={tmp_path}/nowhere/r.html"],
    ):
        with pytest.raises(UserError, match=r"named twice|can't be written"):
            main(["report", str(source), *options])
    for name in ("q.html", "q.md"):
        with pytest.raises(UserError, match=r"give one that ends in \.json"):
            main(["all", f"--json={tmp_path}/{name}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.json", "pipe"]
    assert source.read_bytes() == RESULTS[0].read_bytes()


def record(**changes: Any) -> dict[str, Any]:
    """A committed one, with some keys replaced."""
    return {**read(RESULTS[0])[0], **changes}


def broken() -> dict[str, Any]:
    return record(peer="webdataset", **failed("webdataset: RuntimeError: no <luck>"))


WHOLE = {
    "ours": "a",
    "peer": "b",
    "metric": "m",
    "started": "s",
    "machine": {},
    "versions": {},
    "revision": "r",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ratio": {"low": 0, "median": 1, "high": 2}},
        {"ratio": {"low": 1, "median": 1, "high": math.inf}},
        {"ratio": {"low": 1, "median": math.nan, "high": 2}},
        {"ratio": {"low": 3, "median": 1, "high": 2}},
    ],
)
def test_incomplete_record_is_named_by_its_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    broken = {"stage": "loader", **(WHOLE if changes else {}), **changes}
    (tmp_path / "x.json").write_text(json.dumps(record()) + "\n" + json.dumps(broken) + "\n")
    with pytest.raises(UserError, match=r"x\.json: line 2 is not a whole record"):
        main(["report", f"{tmp_path}/x.json", f"--html={tmp_path}/r.html"])


@pytest.mark.parametrize("content", ["no json", "[1]\n", '{"a": 1}\n', ""])
def test_file_without_records_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        main(["report", str(path)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        main(["report", str(tmp_path / "gone.json")])
