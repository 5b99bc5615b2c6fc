"""docs/reference/speeds.md is made from the traced steps and the machines."""

from pathlib import Path

from engine.knowledge.machines import published_figures
from engine.knowledge.speed_page import COMMAND, page


def test_speed_page_is_current(repository: Path) -> None:
    assert (repository / "docs/reference/speeds.md").read_text() == page(), f"run {COMMAND}"


def test_page_has_every_published_figure() -> None:
    text = page()
    for one in published_figures():
        assert f"| {one.gpu} | {one.network} | {one.blurpool} | {one.side} | {one.speed:,.0f} |" in text
