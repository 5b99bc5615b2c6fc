"""Which timeline a resumed run goes on with: the checkpoint's, or a later one of the same run."""

from typing import Any

import pytest

from engine.train.checkpoints.resume import _in_force

ADAPTED = {"validations": "all", "replans": 1, "scale": 1.0}


@pytest.mark.parametrize(
    ("found", "asked", "goes_on_with"),
    [
        ({}, "", ""),
        ({"timeline": "0:5"}, "", "0:5"),
        ({"timeline": "0:5"}, "0:5", "0:5"),
        # A change that was made after the checkpoint, as the run's config.yaml has it.
        ({"timeline": "0:5", "keeper": ADAPTED}, "0:5, 2.25:6", "0:5, 2.25:6"),
        ({"timeline": "", "keeper": ADAPTED}, "2.25:6", "2.25:6"),
        # Another run's.
        ({"timeline": "0:5", "keeper": ADAPTED}, "0:6", "0:5"),
        ({"timeline": "", "keeper": {}}, "2.25:6", ""),
    ],
)
def test_timeline_in_force_is_the_checkpoints_or_extends_it(
    found: dict[str, Any], asked: str, goes_on_with: str
) -> None:
    assert _in_force(found, asked) == goes_on_with
