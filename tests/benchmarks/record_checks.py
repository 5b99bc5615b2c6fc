"""What a benchmark record must hold, whoever wrote it."""

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

# The keys that every record has: key -> type.
SCHEMA: dict[str, type | tuple[type, ...]] = {
    "stage": str,
    "ours": str,
    "peer": str,
    "resolution": int,
    "scale": list,
    "cores": int,
    "cache": str,
    "metric": str,
    "ours_median": float,
    "peer_median": float,
    "ratio": dict,
    "n": int,
    "data": str,
    "machine": dict,
    "versions": dict,
    "revision": str,
}


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, one on each line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(record: dict[str, Any], *, committed: bool = False) -> None:
    """Raise AssertionError where the record breaks the format or contradicts itself.

    Those `committed` earlier may lack what has been noted since.
    """
    for key, kind in SCHEMA.items():
        assert isinstance(record[key], kind), key
    assert record["n"] >= 5
    assert len(record["scale"]) == 2
    for side in ("ours", "peer"):
        rounds = record[f"{side}_rounds"]
        assert len(rounds) == record["n"]
        # Rounds are written with seven digits.
        assert math.isclose(statistics.median(rounds), record[f"{side}_median"], rel_tol=1e-5)
    ratio = record["ratio"]
    assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    pairs = zip(record["ours_rounds"], record["peer_rounds"], strict=True)
    assert math.isclose(statistics.median(a / b for a, b in pairs), ratio["median"], rel_tol=1e-4)
    assert record["machine"]["cores"] >= record["cores"]
    if not committed:
        assert 0 < len(record["kept_to"]) <= record["machine"]["cores"]
        assert len(record["load_at_start"]) == 3
    assert record["versions"]["torch"]
    assert re.match(r"[0-9a-f]{40}( with uncommitted changes)?$|unknown ", record["revision"])
