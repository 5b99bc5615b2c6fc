"""The report of the benchmarks: nothing left out, nothing that overflows, the same as HTML and Markdown."""

import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.method import failed
from benchmarks.records.record_files import read
from benchmarks.records.outcomes import outcome
from benchmarks.records.record_page import as_markdown, render
from engine.errors import UserError
from tests.report.test_chromium import DESK, PHONE, _browse, _measure

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
RESULTS = sorted(FOLDER.glob("loader_*-25.json"))


def record(**changes: Any) -> dict[str, Any]:
    """A committed one, with some keys replaced."""
    return {**read(RESULTS[0])[0], **changes}


def interval(low: float, median: float, high: float) -> dict[str, Any]:
    return {"ratio": {"low": low, "median": median, "high": high}}


def broken() -> dict[str, Any]:
    return record(peer="webdataset", **failed("webdataset: RuntimeError: no <luck>"))


def test_the_interval_decides_who_won_and_less_is_better_where_it_is() -> None:
    kinds = [
        outcome(record(**interval(*bounds))).kind
        for bounds in ((1.1, 2, 3), (0.2, 0.5, 0.9), (0.9, 1.1, 1.3))
    ]
    assert kinds == ["won", "lost", "level"]
    seconds = outcome(record(metric="seconds_to_first_batch", **interval(0.25, 0.5, 0.8)))
    assert (seconds.kind, seconds.low, seconds.median, seconds.high) == ("won", 1.25, 2, 4)
    assert outcome(record(peer="self", **interval(1.1, 1.2, 1.3))).kind == "share"
    assert (outcome(broken()).kind, outcome(broken()).figures) == (
        "failed",
        "failed: webdataset: RuntimeError: no <luck>",
    )


def test_every_comparison_is_a_bar_also_one_that_was_lost_or_failed() -> None:
    records = [*read(RESULTS[0]), record(peer="timm", **interval(0.4, 0.5, 0.6)), broken()]
    page, markdown = render(records), as_markdown(records)
    wide = [svg for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if 'class="chart wide"' in svg]
    bars = [g for svg in wide for g in ElementTree.fromstring(svg).iter("g")]
    assert len(bars) == len(records)
    for text in (page, markdown):
        assert "1 lost, 0 level, 1 failed or not run" in text
        assert "jpeg / timm" in text and "0.5 [0.4, 0.6]" in text
    assert "no &lt;luck&gt;" in page and "<luck>" not in page
    assert "http" not in re.sub(r"<title.*?</title>", "", page)
    assert "Throughput by resolution" in page and "Scaling with cores" in page
    assert records[0]["revision"] in page and records[0]["revision"] in markdown


def test_no_two_bars_of_a_figure_have_the_same_name_also_where_it_is_cut() -> None:
    pages = [render(read(path)) for path in sorted(FOLDER.glob("all_*.json"))]
    drawn = [
        svg for page in pages for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if 'class="bar"' in svg
    ]
    assert sum("chart phone" in svg for svg in drawn) >= 8
    for svg in map(ElementTree.fromstring, drawn):
        names = [
            text.text for bar in svg.iter("g") for text in bar.iter("text") if text.get("class") == "tick"
        ]
        assert names and len(names) == len(set(names)), svg.findtext("title")


def test_the_command_writes_both_files_from_all_committed_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(map(str, RESULTS[0].parent.glob("*.json")))
    assert main(["report", *files, f"--html={tmp_path}/r.html"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "r.md").read_text().startswith("# Benchmarks\n")
    assert str(tmp_path / "r.md") in capsys.readouterr().out


def test_what_limited_training_is_told() -> None:
    limits = {"stage": "decode", "words": "decode: 1.8 of 2 cores busy", "advice": "use yuv420 storage"}
    page = render([record(limits=limits), record()])
    assert page.count("decode: 1.8 of 2 cores busy; to change it: use yuv420 storage") == 1
    assert "What limits training" not in render([record()])


def test_what_a_record_says_is_no_markup() -> None:
    page = render([record(started='"><script>', revision="<b>", ours="<i>")])
    assert not re.search("<script|<b>|<i>", page)


@pytest.mark.parametrize("peer", ["self", "replay", "without", "bare step"])
def test_a_share_of_a_limit_is_no_contest(peer: str) -> None:
    assert outcome(record(peer=peer, **interval(0.4, 0.5, 0.6))).kind == "share"


def test_no_output_takes_the_place_of_a_record_or_of_another(tmp_path: Path) -> None:
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
def test_a_record_that_is_not_whole_is_named_by_its_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    broken = {"stage": "loader", **(WHOLE if changes else {}), **changes}
    (tmp_path / "x.json").write_text(json.dumps(record()) + "\n" + json.dumps(broken) + "\n")
    with pytest.raises(UserError, match=r"x\.json: line 2 is not a whole record"):
        main(["report", f"{tmp_path}/x.json", f"--html={tmp_path}/r.html"])


@pytest.mark.parametrize("content", ["no json", "[1]\n", '{"a": 1}\n', ""])
def test_what_is_no_record_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        main(["report", str(path)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        main(["report", str(tmp_path / "gone.json")])


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_overflows_or_overlaps(tmp_path: Path, width: int) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    records = [*read(RESULTS[0]), broken()]
    measured = _measure(tmp_path, render(records), width)
    assert measured["wide"] <= measured["room"] == width
    assert measured["found"] == []
    assert measured["charts"] >= 4


@pytest.mark.slow
def test_the_browser_shows_the_page(tmp_path: Path) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    dom = _browse(tmp_path, render([json.loads(json.dumps(record()))]), "--dump-dom")
    assert "1 comparisons: 1 won" in dom
