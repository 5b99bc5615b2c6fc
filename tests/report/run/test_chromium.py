"""The report in a real browser, headless: it is drawn, says its verdict, and fits a desk and a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.report.run.test_evaluation import LOGS as EVALUATIONS
from tests.report.runs import (
    adapted_log,
    alarm_line,
    demo_log,
    epoch_lines,
    render,
    run_config,
    start_line,
    whole_log,
)

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

DARK, LIGHT = 0, 1  # Chromium's values of preferredColorScheme
DESK, PHONE = 1200, 390

CONFIG = run_config(
    model={"arch": "resnet50"},
    training={"epochs": 32},
    budget={"target_top1": 0.735, "minutes": 20.0},
    reference={"source": "ffcv-imagenet", "top1": 0.738, "minutes": 14.9, "hardware": "8 × A100 40 GB"},
    data={"train_dataset": f"/data/{'a-long-folder-name' * 6}/train.beton"},
)
PREDICTED = {
    "family": "rn50-ffcv",
    "predicted_top1": 0.766,
    "predicted_top1_low": 0.761,
    "predicted_top1_high": 0.771,
    "predicted_seconds": 1990.0,
    "predicted_seconds_low": 1700.0,
    "predicted_seconds_high": 2400.0,
}
LOGS = {
    "speedrun": demo_log(),
    "long": whole_log(88),
    "running": [start_line(), *epoch_lines(16)[:5]],
    "started": [start_line(command=["train_imagenet.py", "--data.train_dataset=" + "x" * 300])],
    "adapted": [*adapted_log()[:3], alarm_line(2), *adapted_log()[3:]],
    "planned": [whole_log(32)[0] | PREDICTED, *whole_log(32, top1=0.731, elapsed_seconds=2300.0)[1:]],
    **EVALUATIONS,
}
CHARTS = {"started": 0, "adapted": 9, "planned": 7, **dict.fromkeys(EVALUATIONS, 3)}

# Measured in an inner frame of the width in question: Chromium's own window never gets as narrow as a phone.
_MEASURE = """<!doctype html>
<iframe id="frame" style="border:0;width:WIDTHpx;height:3000px" srcdoc="PAGE"></iframe>
<script>
window.onload = () => {
  const frame = document.getElementById("frame"), page = frame.contentDocument, found = [];
  const charts = [...page.querySelectorAll("svg.chart")].filter(svg => svg.getBoundingClientRect().width > 0);
  for (const svg of charts) {
    const texts = [...svg.querySelectorAll("text")], boxes = texts.map(text => text.getBoundingClientRect());
    const around = svg.getBoundingClientRect();
    boxes.forEach((box, i) => {
      const name = texts[i].textContent;
      if (box.left < around.left - 1 || box.right > around.right + 1 || box.bottom > around.bottom + 1)
        found.push(`${name} leaves its chart`);
      boxes.slice(i + 1).forEach((other, j) => {
        if (box.left < other.right - 1 && other.left < box.right - 1
            && box.top < other.bottom - 3 && other.top < box.bottom - 3)
          found.push(`${name} lies on ${texts[i + 1 + j].textContent}`);
      });
      if (box.height < 10) found.push(`${name} is only ${box.height} px high`);
    });
  }
  const root = page.documentElement;
  const measured = {charts: charts.length, wide: root.scrollWidth, room: root.clientWidth, found: found,
                    text: page.body.innerText.length};
  document.title = JSON.stringify(measured);
};
</script>"""


@pytest.fixture(scope="module", autouse=True)
def _browser_that_starts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where there is no Chromium, or one that cannot start (in some containers, or as a snap)."""
    if BROWSER is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    try:
        started = "it works" in _browse(tmp_path_factory.mktemp("probe"), "<p>it works</p>", "--dump-dom")
    except subprocess.SubprocessError as error:
        pytest.skip(f"{BROWSER} does not start here: {error}")
    assert started


def _browse(folder: Path, page: str, *flags: str) -> str:
    assert BROWSER is not None
    (folder / "page.html").write_text(page, encoding="utf-8")
    quiet = "--disable-background-networking --disable-component-update --disable-sync --disable-quic"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += [*quiet.split(), f"--user-data-dir={folder / 'profile'}", *flags, f"file://{folder}/page.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def _measure(folder: Path, page: str, width: int) -> dict[str, Any]:
    page = html.escape(page, quote=True)
    outer = _MEASURE.replace("WIDTH", str(width)).replace("PAGE", page)
    dom = _browse(folder, outer, "--window-size=1400,3200", "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None, "the measuring script did not run"
    measured: dict[str, Any] = json.loads(html.unescape(title[1]))
    return measured


def _shot(folder: Path, width: int, scheme: int) -> Image.Image:
    flags = [f"--screenshot={folder / 'shot.png'}", f"--window-size={width},2600"]
    _browse(folder, render(CONFIG, demo_log()), *flags, f"--blink-settings=preferredColorScheme={scheme}")
    return Image.open(folder / "shot.png").convert("RGB")


def test_browser_shows_verdict_and_every_figure(tmp_path: Path) -> None:
    dom = _browse(tmp_path, render(CONFIG, demo_log()), "--dump-dom")
    assert "Target met: 92.31% top-1 in 2 min 16 s" in dom
    assert dom.count('<svg class="chart') == 8  # six figures, two of them in two sizes


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("log", list(LOGS))
def test_page_has_no_overflow_overlap_or_tiny_text(tmp_path: Path, log: str, width: int) -> None:
    measured = _measure(tmp_path, render(CONFIG, LOGS[log]), width)
    assert measured["room"] == width
    assert measured["wide"] <= width
    assert measured["found"] == []
    assert measured["charts"] == CHARTS.get(log, 6)
    assert measured["text"] > 300


def test_measuring_finds_overflow_and_overlap(tmp_path: Path) -> None:
    page = render(CONFIG, demo_log()).replace("<body>", '<body><p style="width:900px">wide</p>')
    page = re.sub(r'class="tick middle" x="[\d.]+"', 'class="tick middle" x="90"', page)
    measured = _measure(tmp_path, page, PHONE)
    assert measured["wide"] >= 900
    assert "1 lies on 2" in measured["found"]


@pytest.mark.parametrize(("scheme", "light"), [(LIGHT, True), (DARK, False)])
def test_screenshot_follows_the_colour_scheme(tmp_path: Path, scheme: int, light: bool) -> None:
    image = _shot(tmp_path, DESK, scheme)
    assert image.size == (DESK, 2600)
    colours = image.getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 200, "the page is blank"
    brightness = sum(image.resize((1, 1)).getpixel((0, 0))) / 3  # type: ignore[arg-type]
    assert (brightness > 200) if light else (brightness < 60)
