"""The demo as its visitors use it: `python -m engine demo` as a process, and Chromium driven through its page."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

DESKTOP, PHONE = (1280, 1400), (390, 1600)
SECONDS = 120
IMAGES = "[data-testid=stImage] img"


@pytest.fixture(scope="module")
def address(shown_runs: list[Path], repository: Path) -> Iterator[str]:
    """Of the page, while it is served; ended by Ctrl-C as its user would."""
    command = [
        sys.executable,
        "-m",
        "engine",
        "demo",
        *map(str, shown_runs),
        "--port",
        "0",
        "--max-megabytes",
        "1",
    ]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+)   \(on this machine alone; Ctrl-C ends it\)", line)
        try:
            assert found, line + server.communicate()[1]
            yield found[1]
        finally:
            server.send_signal(signal.SIGINT)
            said = server.communicate(timeout=SECONDS)[1]
    assert (server.returncode, said) == (130, "interrupted\n")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("no chromedriver or no Chromium here")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


class Visitor:
    """What one visitor does and sees."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        browser.get(address)
        self.wait_for("[data-testid=stFileUploader]")

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def wait_for(self, selector: str, text: str = "", *, count: int = 0) -> None:
        """Until the page has `count` (0: any number) such elements, one with the text, and has drawn its pictures."""
        from selenium.webdriver.support.ui import WebDriverWait

        drawn = "return [...document.images].every((image) => image.complete && image.naturalWidth)"

        def stands(browser: Any) -> bool:
            texts = [part.text for part in self.all(selector)]
            right = any(text in one for one in texts) and count in (0, len(texts))
            return right and bool(browser.execute_script(drawn))

        WebDriverWait(self.browser, SECONDS, 0.2).until(stands, f"{selector} {text}")

    def upload(self, path: Path) -> None:
        self.all("[data-testid=stFileUploader] input")[0].send_keys(str(path))

    @property
    def text(self) -> str:
        (page,) = self.all("body")
        return str(page.text)

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def picture(self, path: Path) -> None:
        """A screenshot; the page must not be wider than the window."""
        assert self.browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        self.browser.save_screenshot(str(path))


# In the page: an image onto the clipboard, as another program's Copy does it.
COPY = """
const done = arguments[arguments.length - 1];
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 40;
canvas.getContext("2d").fillRect(5, 5, 20, 20);
canvas.toBlob((blob) => navigator.clipboard.write([new ClipboardItem({"image/png": blob})])
  .then(() => done(""), (error) => done(String(error))));
"""


@pytest.mark.slow
def test_visitor_uploads_pastes_compares_and_errs(
    address: str, browser: Any, shown_runs: list[Path], tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    folder = Path(os.environ.get("DEMO_SCREENSHOTS", tmp_path))
    visitor = Visitor(browser, address)
    visitor.resize(DESKTOP)
    visitor.wait_for(IMAGES, count=6)
    visitor.picture(folder / "empty.png")

    visitor.all(".st-key-take1 button")[0].click()
    visitor.wait_for(".summary", "Labelled in the validation set: blue.")
    visitor.wait_for(".guess", "%", count=2 * 5)
    # What each network gets, and Grad-CAM over it.
    visitor.wait_for(IMAGES, count=6 + 2 * 2)
    visitor.picture(folder / "sample.png")

    good = tmp_path / "good.jpg"
    Image.radial_gradient("L").convert("RGB").save(good)
    visitor.upload(good)
    visitor.wait_for("[data-testid=stFileChipName]", "good.jpg")
    WebDriverWait(browser, SECONDS, 0.2).until(lambda _: "Labelled" not in visitor.text)
    visitor.resize(PHONE)
    visitor.wait_for(IMAGES, count=6 + 2 * 2)
    visitor.picture(folder / "phone.png")
    visitor.resize(DESKTOP)

    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"no image at all")
    visitor.upload(wrong)
    visitor.wait_for("[data-testid=stAlert]", "This is not an image that can be read here", count=1)
    visitor.wait_for(IMAGES, count=6)
    assert not visitor.all(".guess")
    visitor.picture(folder / "wrong.png")

    large = tmp_path / "large.bmp"
    Image.new("RGB", (700, 700)).save(large)
    visitor.upload(large)
    visitor.wait_for("[data-testid=stFileChip] [role=alert]", "File must be 1.0MB or smaller.")
    visitor.picture(folder / "large.png")

    # All others are refused from now on; which of the two is asked depends on whether the page was clicked just before.
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    assert browser.execute_async_script(COPY) == ""
    visitor.all("body")[0].send_keys(Keys.CONTROL, "v")
    visitor.wait_for("[data-testid=stFileChipName]", "image.png")
    visitor.wait_for(".guess", "%", count=2 * 5)
    visitor.picture(folder / "pasted.png")
    for run in shown_runs:
        assert str(run.parent) not in browser.page_source
