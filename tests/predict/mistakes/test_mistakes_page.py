"""The page of mistakes, drawn from hand-made predictions: complete, small, and without anybody's markup."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from engine.predict.mistakes.class_table import MOST_ROWS
from engine.predict.mistakes.judged import Judged
from engine.predict.mistakes.mistakes_page import Page, Subject
from engine.predict.mistakes.selection import choose
from engine.predict.mistakes.thumbnails import Thumbnail
from engine.train.evaluation.class_statistics import NO_CLASS
from tests.predict.mistakes.made import made

PIXELS = Thumbnail("data:image/jpeg;base64,AAAA", "data:image/jpeg;base64,BBBB")


def page(judged: Judged, names: Sequence[str], drawn: Thumbnail = PIXELS, source: str = "cat/1.jpg") -> str:
    subject = Subject(
        title="some-run",
        network="resnet18",
        names=names,
        resolution=224,
        conditions=[("resolution", "224 px")],
        source=lambda sample: source,
    )
    chosen = choose(judged, len(names))
    return Page(subject, judged, chosen, dict.fromkeys(chosen.rows.tolist(), drawn)).render()


def words(content: str) -> str:
    """The page's text, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", content, flags=re.DOTALL))


def test_page_says_accuracies_and_shows_images() -> None:
    said = page(made([0, 0, 0, 1], [0, 0, 1, 1], losses=[0.5, 0.5, 2.5, 0.5]), ["cat", "dog"])
    told = words(said)
    assert "75.00% top-1" in told
    assert "1 of 4 images" in told
    assert "Balanced accuracy 83.33%" in told
    assert "cat taken for dog loss 2.50 · image 102 · cat/1.jpg" in told
    assert "1 of 3 images (33.3%); the other way round 0" in told
    assert told.count("cat taken for dog loss") == 1
    # the wrong one twice, the second time under its pair, and three right ones
    assert said.count('<article class="shot">') == 5
    assert said.count(PIXELS.overlay) == 5
    assert "Top-5" not in told


def test_label_beyond_the_likeliest_has_its_bar() -> None:
    judged = made([9, 0], [0, 0], losses=[float(-np.log(0.0123)), 0.1], classes=10)
    bars = re.findall(
        r'<li class="(\w*)"><span title="(\w+)">.*?<em>([\d.]+%)</em>', page(judged, "abcdefghij")
    )
    assert bars[:6] == [
        ("taken", "a", "60.0%"),
        ("", "b", "30.0%"),
        ("", "c", "15.0%"),
        ("", "d", "7.5%"),
        ("", "e", "3.8%"),
        ("label", "j", "1.2%"),
    ]


def test_names_are_escaped_everywhere() -> None:
    evil = "<script>alert('x')</script>\"&"
    said = page(made([0, 1, 1], [1, 1, 0]), [evil, "dog"], source=f"{evil}/1.jpg")
    assert evil not in said
    assert "alert('x')" not in said
    assert said.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;") > 6


@pytest.mark.parametrize(
    ("labels", "predicted", "told"),
    [
        ([0, 1], [0, 1], "None: every image is predicted right."),
        ([0, 1], [1, 0], "None: no image is predicted right."),
        ([0], [0], "100.00% top-1"),
        ([1], [0], "0.00% top-1"),
        ([0, 1], [NO_CLASS, 1], "outputs are not finite"),
    ],
)
def test_small_and_one_sided_results_make_a_page(labels: list[int], predicted: list[int], told: str) -> None:
    losses = [float("nan") if one == NO_CLASS else 1.0 for one in predicted]
    assert told in words(page(made(labels, predicted, losses=losses, classes=2), ["cat", "dog"]))


def test_page_of_many_classes_is_bounded_and_says_so() -> None:
    labels = np.repeat(np.arange(1200), 2)
    names = [f"class number {number}" for number in range(1200)]
    # as large as such thumbnails get
    drawn = Thumbnail("data:," + "x" * 12_000, "data:," + "x" * 12_000)
    said = page(made(labels, (labels + 1) % 1200), names, drawn)
    assert len(said) < 2_500_000
    assert said.count("<tr><td title=") == MOST_ROWS
    assert "The 1,000 least accurate of 1,200." in said


def test_page_without_grad_cam_shows_the_images_alone() -> None:
    said = page(made([0, 1], [1, 1]), ["cat", "dog"], Thumbnail(PIXELS.image, ""))
    assert said.count("<img ") == 3
    assert "Grad-CAM" not in said


def test_outputs_that_are_not_finite_have_no_cam_and_no_bars() -> None:
    said = page(made([0], [NO_CLASS], losses=[float("nan")], classes=2), ["cat", "dog"])
    assert said.count("<img ") == 1
    assert '<ol class="bars">' not in said


def test_page_needs_no_other_file() -> None:
    said = page(made([0, 1], [1, 1]), ["cat", "dog"])
    assert re.findall(r'(?:src|href)="(?!data:|#)', said) == []
    assert "http" not in said
    assert "url(" not in said
