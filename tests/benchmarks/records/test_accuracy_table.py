"""The accuracy stage's page: mean, spread, and the committed records."""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.records.accuracy_table import page, table


def test_table_has_sample_mean_and_spread_and_no_empty_column() -> None:
    shares = [0.91, 0.92, 0.945]
    keys = ("top1_no_tta", "top1_tta")
    figures = {
        "train_minutes": 1.0,
        "minutes": 2.0,
        "images_per_second": 1234.5,
        **dict.fromkeys(("last_top1_no_tta", "last_top1_tta", "compile_seconds")),
    }
    records = [{"seed": seed, **dict.fromkeys(keys, share), **figures} for seed, share in enumerate(shares)]
    *rows, last = table(records).splitlines()
    mean, spread = 100 * statistics.mean(shares), 100 * statistics.stdev(shares)
    assert f"| {mean:.2f}% ± {spread:.2f}% |" in last
    assert len(rows) == 5 and len({len(row) for row in [*rows, last]}) == 1
    assert "compiling" not in rows[0] and "last weights" not in rows[0]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_committed_records_match_their_pages(repository: Path) -> None:
    for file in (repository / "benchmarks" / "results").glob("*.json"):
        records = _read(file)
        if records[0]["stage"] == "accuracy":
            assert len({record["seed"] for record in records}) == len(records) >= 3
            assert file.with_suffix(".md").read_text(encoding="utf-8") == page(records), file
