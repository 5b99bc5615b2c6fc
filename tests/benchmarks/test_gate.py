"""The regression gate: real records pass against themselves, and one made worse is found."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.bench_gate import RESULTS, committed, judge
from benchmarks.bench_loader import main as loader
from benchmarks.method import failed
from benchmarks.report.command import read
from engine.errors import UserError
from tests.benchmarks.conftest import TINY


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def doctored(record: dict[str, Any], factor: float) -> dict[str, Any]:
    return {**record, "ratio": {key: value * factor for key, value in record["ratio"].items()}}


@pytest.mark.slow
def test_records_of_a_stage_pass_against_themselves_and_a_doctored_one_fails(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, results = tmp_path / "now.json", tmp_path / "results"
    results.mkdir()
    loader([*TINY, "--against=self", f"--json={made}"])
    records = [json.loads(line) for line in made.read_text().splitlines()]
    write(results / "loader_tiny.json", records)
    argv = ["gate", f"--measured={made}", f"--results={results}"]
    assert main(argv) == 0
    assert "1 compared, 0 worse, 0 new" in capsys.readouterr().out
    bounds = records[0]["ratio"]
    write(made, [doctored(records[0], 0.85 * bounds["low"] / bounds["median"])])
    assert main(argv) == 1
    assert "WORSE" in capsys.readouterr().out


def test_only_what_drops_by_its_interval_and_a_tenth_is_worse() -> None:
    before = [record for record in committed(RESULTS) if record["stage"] == "memory"]
    for record in before:
        # Less is better here: the worse end of the interval is the larger ratio.
        edge = record["ratio"]["high"] / record["ratio"]["median"]
        assert judge([doctored(record, edge * 1.09)], before)[0][1] == "ok"
        assert judge([doctored(record, edge * 1.15)], before)[0][1] == "WORSE"


def test_the_last_record_counts_and_another_machine_is_no_measure() -> None:
    record = next(record for record in committed(RESULTS) if record["stage"] == "memory")
    worse = doctored(record, 2)
    newer = {**worse, "started": "2999-01-01T00:00:00+00:00"}
    assert judge([worse], [newer, record])[0][1] == "ok"
    elsewhere = {**record, "machine": {**record["machine"], "cores": 64}}
    assert judge([elsewhere], [record])[0][1] == "new"
    gpu = {**record, "machine": {**record["machine"], "gpus": ["NVIDIA H100"]}}
    assert judge([gpu], [record])[0][1] == "new"


def test_no_two_comparisons_of_a_run_are_taken_for_one() -> None:
    (path,) = sorted(RESULTS.glob("all_*.json"))[-1:]
    for record in (records := read(path)):
        if not record.get("error"):
            others = [other for other in records if other is not record]
            assert judge([record], others)[0][1] == "new", record["stage"]


def test_a_comparison_that_fails_now_is_worse() -> None:
    record = next(record for record in committed(RESULTS) if record["stage"] == "memory")
    assert judge([{**record, **failed("it broke")}], [record])[0][1] == "WORSE"


def test_a_gate_that_compares_nothing_says_so(tmp_path: Path) -> None:
    record = next(record for record in committed(RESULTS) if record["stage"] == "memory")
    now = write(tmp_path / "now.json", [{**record, "peer": "nobody"}])
    with pytest.raises(UserError, match="no record of these comparisons"):
        main(["gate", f"--measured={now}"])


@pytest.mark.parametrize("option", ["--stages=lodar", "--results=/no/such/folder", "--data=/no/such/folder"])
def test_what_cannot_be_used_is_refused_in_one_line(option: str) -> None:
    with pytest.raises(UserError) as caught:
        main(["gate", option])
    assert "\n" not in str(caught.value)
