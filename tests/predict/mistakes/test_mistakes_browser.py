"""The page of mistakes in a real browser, headless: it fits a desk and a phone, and its table sorts."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.predict.mistakes.thumbnails import Thumbnail
from tests.predict.mistakes.made import made
from tests.predict.mistakes.test_mistakes_page import page
from tests.report.run.test_chromium import DESK, PHONE, _browse, _browser_that_starts, _measure

__all__ = ["_browser_that_starts"]

pytestmark = pytest.mark.slow

# One pixel, stretched by the page.
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

_CLICK = """<script>
const heads = [...document.querySelectorAll(".classes thead button")], found = {};
const names = () => [...document.querySelectorAll(".classes tbody tr")].map(row => row.cells[0].textContent);
const click = (name) => heads.find(head => head.textContent === name).click();
found.first = names();
for (const name of ["images", "top-1", "class", "images"]) { click(name); found[name] = names(); }
click("images"); found.again = names();
found.sorted = document.querySelector(".classes [aria-sort]").textContent;
document.title = JSON.stringify(found);
</script>"""


def many_classes(count: int) -> str:
    labels = np.repeat(np.arange(count), 2)
    names = [f"class-{number}-{'long' * 30 if number % 2 else ''}" for number in range(count)]
    return page(made(labels, (labels + 1) % count), names, Thumbnail(PIXEL, PIXEL), "folder/" + "x" * 150)


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("classes", [2, 1000])
def test_page_fits_a_desk_and_a_phone(tmp_path: Path, classes: int, width: int) -> None:
    measured = _measure(tmp_path, many_classes(classes), width)
    assert measured["room"] == width
    assert measured["wide"] <= width
    assert measured["text"] > 500


def test_click_on_a_heading_sorts_the_classes(tmp_path: Path) -> None:
    # images: 12 of "c 10", 9 of "b", 2 of "c 9"; right: 6, 9, 0
    labels = [0] * 12 + [1] * 9 + [2] * 2
    predicted = [0] * 6 + [1] * 6 + [1] * 9 + [0] * 2
    content = page(made(labels, predicted), ["c 10", "b", "c 9"], Thumbnail(PIXEL, ""))
    dom = _browse(tmp_path, content.replace("</body>", f"{_CLICK}</body>"), "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    assert found["first"] == ["c 9", "c 10", "b"]
    assert found["images"] == ["c 10", "b", "c 9"]
    assert found["top-1"] == ["c 9", "c 10", "b"]
    assert found["class"] == ["b", "c 9", "c 10"]
    assert found["again"] == ["c 9", "b", "c 10"]
    assert found["sorted"] == "images"
