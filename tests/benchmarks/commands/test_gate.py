"""The gate: real records pass when judged by themselves, and a worse one is found."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.commands import all as all_stages
from benchmarks.commands import gate
from benchmarks.commands.gate import RESULTS, committed, gone, judge
from benchmarks.harness.method import failed
from benchmarks.records.record_files import read
from benchmarks.stages.loader import main as loader
from engine.errors import UserError
from tests.benchmarks.conftest import TINY


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def doctored(record: dict[str, Any], factor: float) -> dict[str, Any]:
    return {**record, "ratio": {key: value * factor for key, value in record["ratio"].items()}}


@pytest.mark.slow
def test_real_records_pass_and_a_worse_one_fails(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, results = tmp_path / "now.json", tmp_path / "results"
    results.mkdir()
    loader([*TINY, "--against=self", f"--json={made}"])
    records = [json.loads(line) for line in made.read_text().splitlines()]
    write(results / "loader_tiny.json", records)
    argv = ["gate", f"--measured={made}", f"--results={results}"]
    assert main(argv) == 0
    assert "1 compared, 0 worse, 0 gone, 0 new" in capsys.readouterr().out
    bounds = records[0]["ratio"]
    write(made, [doctored(records[0], 0.85 * bounds["low"] / bounds["median"])])
    assert main(argv) == 1
    assert "WORSE" in capsys.readouterr().out


def test_ratio_is_worse_only_beyond_interval_and_a_tenth() -> None:
    before = [record for record in committed(RESULTS) if record["stage"] == "memory"]
    for record in before:
        # Less is better here: the worse end of the interval is the larger ratio.
        edge = record["ratio"]["high"] / record["ratio"]["median"]
        assert judge([doctored(record, edge * 1.09)], before)[0][1] == "ok"
        assert judge([doctored(record, edge * 1.15)], before)[0][1] == "WORSE"


def a_record() -> dict[str, Any]:
    """Of full rounds."""
    return next(
        record for record in committed(RESULTS) if record["stage"] == "memory" and not record.get("short_run")
    )


def test_last_record_of_the_same_machine_counts() -> None:
    record = a_record()
    worse = doctored(record, 2)
    newer = {**worse, "started": "2999-01-01T00:00:00+00:00"}
    assert judge([worse], [newer, record])[0][1] == "ok"
    elsewhere = {**record, "machine": {**record["machine"], "cores": 64}}
    assert judge([elsewhere], [record])[0][1] == "new"
    for changes in ({"gpus": ["NVIDIA H100"]}, {"cpu": "ARM Cortex-A72"}):
        other = {**record, "machine": {**record["machine"], **changes}}
        assert judge([other], [record])[0][1] == "new"


def test_comparisons_of_a_run_have_distinct_keys() -> None:
    (path,) = sorted(RESULTS.glob("all_*.json"))[-1:]
    for record in (records := read(path)):
        if not record.get("error"):
            others = [other for other in records if other is not record]
            assert judge([record], others)[0][1] == "new", record["stage"]


def test_newly_failed_comparison_is_worse() -> None:
    record = a_record()
    assert judge([{**record, **failed("it broke")}], [record])[0][1] == "WORSE"


def test_committed_failure_is_ignored() -> None:
    record = a_record()
    broken = {**record, **failed("it broke"), "started": "2999-01-01T00:00:00+00:00"}
    assert judge([doctored(record, 2)], [record, broken])[0][1] == "WORSE"
    assert judge([record], [broken])[0][1] == "new"


@pytest.mark.parametrize("what", ["labels_equal", "each_image_once"])
def test_unequal_work_is_worse_at_any_speed(what: str) -> None:
    record = next(record for record in committed(RESULTS) if record["stage"] == "loader")
    assert judge([{**doctored(record, 1.5), what: True}], [record])[0][1] == "ok"
    assert judge([{**doctored(record, 1.5), what: False}], [record])[0][1] == "WORSE"


def test_infinite_ratio_is_worse() -> None:
    record = next(record for record in committed(RESULTS) if record["stage"] == "loader")
    assert judge([doctored(record, math.inf)], [record])[0][1] == "WORSE"


def test_short_rounds_are_judged_by_short_ones() -> None:
    record = a_record()
    short = {**doctored(record, 3), "short_run": "2999-01-01T00:00:00+00:00"}
    assert judge([short], [record])[0][1] == judge([record], [short])[0][1] == "new"
    assert judge([short], [record, short])[0][1] == "ok"


def test_stage_that_lost_all_results_is_worse() -> None:
    record = a_record()
    shared = {key: record[key] for key in ("machine", "versions", "revision", "started")}
    broken = all_stages._without("memory", "it took longer than 9 s", shared, not_run=False)
    assert judge([broken], [record])[0][1] == "WORSE"
    assert judge([broken], [doctored({**record, "stage": "loader"}, 1)])[0][1] == "new"


def test_comparison_missing_from_a_short_run_is_gone() -> None:
    one, other, *_ = (
        {**record, "short_run": "2026-02-02"} for record in committed(RESULTS) if record["stage"] == "memory"
    )
    older = {
        **doctored(one, 1),
        "peer": "nobody",
        "short_run": "2026-01-01",
        "started": "2000-01-01T00:00:00+00:00",
    }
    before = [older, one, other]
    assert gone([one, other], before) == []
    ((line, verdict),) = gone([one], before)
    assert verdict == "GONE" and line.startswith("memory: ")
    # Of a stage that gives nothing one line is enough, and of a full run nobody knows what it was to measure.
    assert gone([{**one, "whole_stage": True, **failed("x")}], before) == []
    assert gone([{**one, "short_run": None}], before) == []


def test_new_record_is_not_judged_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = a_record()
    write(tmp_path / "before.json", [record])
    newer = {**doctored(record, 3), "started": "2999-01-01T00:00:00+00:00"}

    def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
        return read(write(options.json, [newer]))

    monkeypatch.setattr(gate, "_measure", measure)
    assert main(["gate", f"--results={tmp_path}", f"--json={tmp_path}/now.json"]) == 1


def test_records_without_comparisons_are_refused(tmp_path: Path) -> None:
    (path,) = RESULTS.glob("cifar_*.json")
    with pytest.raises(UserError, match="no record of these comparisons"):
        main(["gate", f"--measured={path}"])
    with pytest.raises(UserError, match="line 1 is not a whole record"):
        main(["gate", f"--measured={write(tmp_path / 'now.json', [{'stage': 'loader'}])}"])


def test_gate_without_known_comparisons_is_refused(tmp_path: Path) -> None:
    record = a_record()
    now = write(tmp_path / "now.json", [{**record, "peer": "nobody"}])
    with pytest.raises(UserError, match="no record of these comparisons"):
        main(["gate", f"--measured={now}"])


@pytest.mark.parametrize("option", ["--stages=lodar", "--results=/no/such/folder", "--data=/no/such/folder"])
def test_bad_option_is_refused_in_one_line(option: str) -> None:
    with pytest.raises(UserError) as caught:
        main(["gate", option])
    assert "\n" not in str(caught.value)
