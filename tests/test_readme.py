"""README: its length, its figures against the records that it links, the speedrun's promise."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.cli import speedrun
from engine.report import text
from engine.report.contract_words import length
from engine.report.leaderboard.leaderboard_entries import in_order, measured_entries
from engine.report.leaderboard.leaderboard_table import top1_words
from engine.report.leaderboard.record_search import find_records

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "benchmarks" / "results" / "runs"
README = (ROOT / "README.md").read_text(encoding="utf-8")

# "2.18 [2.12, 2.28]", and the same with its link.
_FIGURES = r"(\d[\d.]*) \[(\d[\d.]*), (\d[\d.]*)\]"
_LINKED = re.compile(_FIGURES + r"[\s|]*\(?\[record\]\((\S+?)\.md\)")
_ROWS = re.compile(
    r"^\| ([^|]+) \| `([^`|]+)` \| ([^|]+) \| ([^|]+) \| " + _FIGURES + r" \| \[record\]\((\S+?)\.md\) \|$",
    re.M,
)

# In these less is better, so that a ratio above 1 is the peer's share of ours.
_LESS_IS_BETTER = {"peak_megabytes", "seconds_to_first_batch"}


def _records(path: str) -> list[dict[str, Any]]:
    lines = (ROOT / f"{path}.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def _figures(record: dict[str, Any]) -> tuple[float, ...]:
    """Ratio, low and high as the README has them: above 1 ours is better, three digits."""
    ratio = record["ratio"]
    median, low, high = ratio["median"], ratio["low"], ratio["high"]
    if record["metric"] in _LESS_IS_BETTER:
        median, low, high = 1 / median, 1 / high, 1 / low
    return tuple(float(f"{value:.3g}") for value in (median, low, high))


def _conditions(record: dict[str, Any]) -> set[str]:
    """What the column "at" may say of a record."""
    said = {
        f"{record['resolution']} px",
        f"{record['cores']} cores",
        f"batch {record.get('batch')}",
        f"{record.get('start')} start",
        f"since {record.get('since')}",
        str(record.get("case")),
    }
    if "scale" in record:
        low, high = record["scale"]
        said.add(f"scale {low:g}-{high:g}")
    return said


def test_readme_is_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_every_figure_links_a_record_that_has_it() -> None:
    linked = _LINKED.findall(README)
    assert len(linked) == len(re.findall(_FIGURES, README)) >= 5
    for *figures, path in linked:
        assert tuple(map(float, figures)) in {_figures(record) for record in _records(path)}, path


def test_table_has_five_rows() -> None:
    assert len(_ROWS.findall(README)) == 5


@pytest.mark.parametrize("row", _ROWS.findall(README), ids=lambda row: f"{row[0]}-{row[1]}")
def test_row_equals_the_one_record_that_it_describes(row: tuple[str, ...]) -> None:
    _, ours, peer, conditions, *figures, path = row
    wanted = set(conditions.split(", "))
    found = [
        record
        for record in _records(path)
        if (record["ours"], record["peer"]) == (ours, peer) and wanted <= _conditions(record)
    ]
    assert len(found) == 1
    assert tuple(map(float, figures)) == _figures(found[0])
    machine = found[0]["machine"]
    assert f"Measured on {machine['cores']} cores of an {machine['cpu']} without a GPU" in README
    assert machine["gpus"] == []
    assert f"{found[0]['n']} rounds" in README


def test_table_of_our_runs_is_that_of_their_records() -> None:
    entries = in_order(measured_entries(find_records([RUNS]).records))
    assert entries, "the README shows what we have measured ourselves"
    rows = "\n".join(
        f"| {e.data} | {top1_words(e)} | {text.duration(e.seconds)} | {length(e.epochs)} | {e.machine} |"
        for e in entries
    )
    assert f"|---|---:|---:|---:|---|\n{rows}\n\n" in README, f"put these rows into the README:\n{rows}"


def test_speedrun_promise_is_the_programs() -> None:
    readme = " ".join(README.split())
    assert f"target {speedrun.TARGET:.0%} top-1" in readme
    assert f"up to {speedrun.MOST_MINUTES:.0f} minutes" in readme
