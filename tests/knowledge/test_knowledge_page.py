"""docs/reference/knowledge.md is made from the families."""

from pathlib import Path

from engine.knowledge.families import FAMILIES
from engine.knowledge.knowledge_page import COMMAND, page


def test_knowledge_page_is_current(repository: Path) -> None:
    assert (repository / "docs/reference/knowledge.md").read_text() == page(), f"run {COMMAND}"


def test_page_keeps_published_and_measured_apart() -> None:
    published, rest = page().split("# Measured here")
    measured, back_test = rest.split("# Back-test")
    for name, family in FAMILIES.items():
        assert (f"`{name}`" in published) != family.measured
        assert (f"`{name}`" in measured) == family.measured
        for point in family.points:
            assert f"| {point.epochs:g} |" in (measured if family.measured else published)
    assert "Published: " in back_test and "points are inside" in back_test
