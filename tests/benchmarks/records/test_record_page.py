"""The report's page: every comparison, nothing that overflows, the same as HTML and Markdown."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.harness.method import failed
from benchmarks.records.record_files import read
from benchmarks.records.record_page import as_markdown, render
from tests.report.run.test_chromium import DESK, PHONE, _browse, _measure

FOLDER = Path(__file__).parents[3] / "benchmarks" / "results"


RESULTS = sorted(FOLDER.glob("loader_*-25.json"))


def record(**changes: Any) -> dict[str, Any]:
    """A committed one, with some keys replaced."""
    return {**read(RESULTS[0])[0], **changes}


def interval(low: float, median: float, high: float) -> dict[str, Any]:
    return {"ratio": {"low": low, "median": median, "high": high}}


def broken() -> dict[str, Any]:
    return record(peer="webdataset", **failed("webdataset: RuntimeError: no <luck>"))


def test_every_comparison_has_a_bar_including_lost_and_failed() -> None:
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


def test_bars_of_a_figure_have_distinct_names() -> None:
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


def test_limits_of_training_are_shown() -> None:
    limits = {"stage": "decode", "words": "decode: 1.8 of 2 cores busy", "advice": "use yuv420 storage"}
    page = render([record(limits=limits), record()])
    assert page.count("decode: 1.8 of 2 cores busy; to speed it up: use yuv420 storage") == 1
    assert "What limits training" not in render([record()])


def test_text_of_records_is_escaped() -> None:
    page = render([record(started='"><script>', revision="<b>", ours="<i>")])
    assert not re.search("<script|<b>|<i>", page)


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_page_has_no_overflow_or_overlap(tmp_path: Path, width: int) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    records = [*read(RESULTS[0]), broken()]
    measured = _measure(tmp_path, render(records), width)
    assert measured["wide"] <= measured["room"] == width
    assert measured["found"] == []
    assert measured["charts"] >= 4


@pytest.mark.slow
def test_browser_shows_the_page(tmp_path: Path) -> None:
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    dom = _browse(tmp_path, render([json.loads(json.dumps(record()))]), "--dump-dom")
    assert "1 comparisons: 1 won" in dom
