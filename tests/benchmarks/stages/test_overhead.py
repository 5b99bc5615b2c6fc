"""The overhead stage: verdict, exit code and record."""

from pathlib import Path

import pytest

from benchmarks.records.overhead_limit import sentence, verdict
from benchmarks.records.record_table import table
from benchmarks.stages.overhead import main, passed
from engine.errors import UserError
from tests.benchmarks import record_checks


@pytest.mark.parametrize(
    ("low", "high", "word", "words"),
    [
        (0.99, 1.01, "holds", "holds: [-0.99, 1.01] lies below 2%"),
        (0.97, 1.01, "undecided", "undecided: [-0.99, 3.09] spans 2%, more --rounds narrow it"),
        (0.95, 0.97, "over", "over: [3.09, 5.26] lies above 2%"),
    ],
)
def test_only_an_interval_above_two_percent_is_a_failure(
    low: float, high: float, word: str, words: str
) -> None:
    ratio = {"low": low, "median": (low + high) / 2, "high": high}
    assert (verdict(ratio), sentence(ratio)) == (word, words)
    assert passed({"ratio": ratio}) == (word != "over")


def test_failed_comparison_is_a_failure() -> None:
    assert not passed({"error": "no luck", "ratio": {"low": None, "median": None, "high": None}})


def test_too_few_steps_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="--steps"):
        main(["--steps=1"])


@pytest.mark.slow
def test_stage_records_the_loop_and_exits_by_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("--device=cpu", "--arch=small_resnet", "--resolution=16", "--batch=4", "--steps=4"),
            *("--rounds=5", f"--json={tmp_path}/o.json"),
        ]
    )
    (record,) = record_checks.read(tmp_path / "o.json")
    record_checks.check(record)
    assert (record["ours"], record["peer"], record["metric"]) == ("loop", "bare step", "images_per_second")
    assert record["overhead"] == pytest.approx(1 / record["ratio"]["median"] - 1, abs=1e-4)
    assert code == (0 if passed(record) else 1)
    assert record["verdict"] == sentence(record["ratio"])
    page, said = (tmp_path / "o.md").read_text(encoding="utf-8"), capsys.readouterr().out
    assert "in turns of five steps in one process" in page
    assert table([record]) in page and table([record]) in said
    assert f"| {verdict(record['ratio'])} " in table([record])
    assert said.endswith(f"{record['verdict']}\n")
