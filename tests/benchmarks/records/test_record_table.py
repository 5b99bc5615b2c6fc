"""Tables and pages of records, and the committed ones."""

from pathlib import Path
from typing import Any

from benchmarks.commands import all as all_stages
from benchmarks.records.record_table import page
from tests.benchmarks import record_checks

SHARED: dict[str, Any] = {
    "machine": {"cpu": "x", "cores": 2, "gpus": []},
    "versions": {"torch": "2"},
    "revision": "r",
    "started": "s",
    "short_run": "s",
}


def test_page_of_several_stages_has_a_table_for_each() -> None:
    found = [
        all_stages._without(stage, f"no {stage}", SHARED, not_run=True) for stage in ("read", "copy", "read")
    ]
    text = page(found)
    assert text.index("# read, cpu") < text.index("# copy, cpu")
    assert text.count("not run: no read") == 2


def test_committed_records_are_valid_and_match_their_pages(repository: Path) -> None:
    files = sorted((repository / "benchmarks" / "results").glob("*.json"))
    assert files
    for file in files:
        found = record_checks.read(file)
        assert found
        if found[0]["stage"] in ("accuracy", "contract"):
            # Of another form: test_accuracy.py, and below.
            continue
        for record in found:
            if not record.get("error"):
                record_checks.check(record, committed=True)
        assert file.with_suffix(".md").read_text(encoding="utf-8") == page(found), file
