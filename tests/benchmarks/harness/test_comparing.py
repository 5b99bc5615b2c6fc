"""A comparison counts only where both sides did the same work: equal labels, each image once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.comparing import passed
from benchmarks.harness.method import failed
from benchmarks.stages.loader import main as loader
from tests.benchmarks.conftest import TINY

LEAVES_ONE_OUT = """
        from engine.data.beton.reader import open_beton
        self.one_pass = lambda: [open_beton(self.task.beton).labels[1:]]
"""


OTHER_LABELS = """
        self.centre_crops = lambda count: (np.zeros((count, 3, 8, 8), np.float32), np.ones(count, np.int64))
"""


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize(
    ("body", "what"), [(LEAVES_ONE_OUT, "each_image_once"), (OTHER_LABELS, "labels_equal")]
)
def test_side_that_does_other_work_fails_the_comparison(
    who: str, body: str, what: str, cache: Path, tmp_path: Path, plain_side: Callable[[str, str], None]
) -> None:
    for side in ("a", "b"):
        plain_side(side, body if side == who else "pass")
    code = loader([*TINY, "--ours=a", "--against=b", f"--json={tmp_path}/r.json"])
    (record,) = [json.loads(line) for line in (tmp_path / "r.json").read_text().splitlines()]
    assert code == 1
    told = {"each_image_once": record["each_image_once"], "labels_equal": record["labels_equal"]}
    assert told == {"each_image_once": True, "labels_equal": True} | {what: False}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"labels_equal": False}, False),
        ({"each_image_once": False}, False),
        ({"peer": "self"}, False),
        ({"peer": "self", "ratio": {"low": 0.9, "high": 1.1}}, True),
        (failed("it broke"), False),
    ],
)
def test_record_passes_only_with_equal_work(changes: dict[str, Any], expected: bool) -> None:
    record = {
        "peer": "ffcv",
        "labels_equal": True,
        "each_image_once": True,
        "ratio": {"low": 2.0, "high": 3.0},
    }
    assert passed(record | changes) is expected
