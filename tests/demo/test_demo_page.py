"""The demo's page, drawn by Streamlit's own test driver: what a visitor does, and what stands there then."""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.demo import demo_server
from engine.demo.demo_page import Answer, BadPicture, Limits, Sample, answers
from engine.demo.demo_server import Content

testing = pytest.importorskip("streamlit.testing.v1")

SCRIPT = str(Path(demo_server.__file__).with_name("demo_script.py"))
LIMITS = Limits(megabytes=1, megapixels=2)


@dataclass
class Always:
    """Says the same of every picture that Pillow opens."""

    name: str
    says: str
    explains: bool = True
    facts: Sequence[tuple[str, str]] = (("Network", "resnet18"),)
    asked: list[bool] = field(default_factory=list)

    def answer(self, picture: bytes, explain: bool) -> Answer:
        self.asked.append(explain)
        if b"broken" in picture:
            raise BadPicture("This picture can't be used: it is cut short.")
        seen = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        return Answer([(self.says, 0.9), ("eel", 0.1)], seen, 255 - seen if explain else None)


def png(width: int = 24, height: int = 16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "png")
    return file.getvalue()


@pytest.fixture
def page() -> Iterator["Page"]:
    shown = Page()
    yield shown
    demo_server._content.clear()


class Page:
    """The page of some models, and the texts on it."""

    def open(self, *models: Always, samples: Sequence[Sample] = ()) -> "Page":
        demo_server._content.append(Content(models, samples, LIMITS))
        self.app = testing.AppTest.from_file(SCRIPT, default_timeout=30).run()
        return self

    def upload(self, name: str, content: bytes) -> "Page":
        self.app.file_uploader[0].upload(name, content, "image/png").run()
        return self

    @property
    def html(self) -> str:
        return "".join(part.value for part in self.app.get("html"))

    @property
    def errors(self) -> list[str]:
        assert not self.app.exception
        return [part.value for part in self.app.error]


def test_upload_shows_guesses_of_each_network(page: Page) -> None:
    one, other = Always("first", "cat"), Always("second", "dog")
    page.open(one, other).upload("a.png", png())
    assert page.errors == []
    assert [part.value for part in page.app.subheader] == ["first", "second"]
    assert page.html.count("90.0%") == page.html.count("10.0%") == 2
    assert "The networks differ." in page.html and "All say" not in page.html
    assert one.asked == other.asked == [True]


def test_sample_shows_its_label_and_agreement(page: Page) -> None:
    page.open(Always("a", "cat"), Always("b", "cat"), samples=[Sample(png(), "dog")])
    page.app.button[0].click().run()
    assert "Labelled in the validation set: <b>dog</b>." in page.html
    assert "All say <b>cat</b>." in page.html


def test_grad_cam_is_not_asked_for_once_switched_off(page: Page) -> None:
    model = Always("a", "cat")
    page.open(model).app.toggle[0].set_value(False).run()
    page.upload("a.png", png())
    assert model.asked == [False]


def test_page_without_grad_cam_or_samples_offers_neither(page: Page) -> None:
    page.open(Always("a", "cat", explains=False)).upload("a.png", png())
    assert "90.0%" in page.html
    assert list(page.app.toggle) == list(page.app.button) == list(page.app.caption) == []


def test_removed_upload_empties_the_page(page: Page) -> None:
    page.open(Always("a", "cat")).upload("a.png", png())
    assert "guess" in page.html
    page.app.file_uploader[0].set_value(None).run()
    assert 'class="guess"' not in page.html


def test_names_are_shown_as_they_are(page: Page) -> None:
    name = "<img src=x onerror=alert(1)> [link](http://x) $y$"
    page.open(Always(name, name, facts=[("Licence note", name)]), samples=[Sample(png(), name)])
    page.app.button[0].click().run()
    assert "<img" not in page.html.replace("&lt;img", "")
    assert page.html.count("&lt;img src=x onerror=alert(1)&gt;") == 3
    (heading,) = page.app.subheader
    assert heading.value.startswith(r"\<img src=x onerror=alert\(1\)\> \[link\]\(http\://x\) \$y\$")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty"),
        (b"nonsense", "This is not an image that can be read here"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "This is not an image that can be read here"),
        (png() + b"\0" * 10**6, "The file has 1.0 MB, and this page takes at most 1"),
        (png(2000, 1001), "The picture has 2000 x 1001 pixels, and this page takes at most 2 million"),
        (png() + b"broken", "This picture can't be used: it is cut short."),
    ],
)
def test_bad_picture_gets_one_line(content: bytes, said: str) -> None:
    (line,) = answers([Always("a", "cat")], content, LIMITS)
    assert isinstance(line, str) and line.startswith(said)
    assert "\n" not in line and "/" not in line


def test_bomb_is_refused_by_its_header() -> None:
    content = bytearray(png())
    # IHDR's width and height.
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (line,) = answers([Always("a", "cat")], bytes(content), LIMITS)
    assert isinstance(line, str) and "this page takes at most 2 million" in line


def test_wrong_file_is_one_message_on_the_page(page: Page) -> None:
    page.open(Always("a", "cat"), Always("b", "cat")).upload("a.png", b"nonsense")
    (line,) = page.errors
    assert "not an image that can be read here" in line
    page.upload("b.png", png())
    assert page.errors == [] and "90.0%" in page.html
