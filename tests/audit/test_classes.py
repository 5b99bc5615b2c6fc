"""Class lists of two files: one numbering for both, and what differs, also of ImageNet-21k's number of classes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.audit.classes import Labels, align, check_balance, check_lists
from engine.audit.finding import FINE, FOUND, NOTE
from engine.data.beton.manifest import Manifest
from engine.data.beton.reader import Beton, open_beton
from tests.data.betons import write_pixels

MANY = 20_000


class Once(tuple[str, ...]):
    """Names of classes that are gone through a few times, not once for each class."""

    times: int

    def __iter__(self) -> Any:
        self.times = getattr(self, "times", 0) + 1
        assert self.times < 20, "time grows with the square of the number of classes"
        return super().__iter__()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    picture = np.zeros((16, 16, 3), np.uint8)
    found = open_beton(write_pixels(tmp_path_factory.mktemp("classes"), [picture, picture + 9])).manifest
    assert found is not None
    return found


def _file(manifest: Manifest, names: list[str]) -> Beton:
    """As much of a file as its class list is compared by; an image of each class."""
    return cast(
        Beton,
        SimpleNamespace(
            path=Path("x.beton"),
            manifest=replace(manifest, classes=Once(names)),
            labels=np.arange(len(names)),
            num_classes=len(names),
        ),
    )


def test_many_classes_are_compared_in_linear_time(manifest: Manifest) -> None:
    ours = [f"n{number:08d}" for number in range(MANY)]
    theirs = ["a", *ours[:-1]]
    train, val = _file(manifest, ours), _file(manifest, theirs)
    labels = align(train, val)
    assert labels.names == (*ours, "a") and labels.num_train == MANY
    assert labels.val.tolist() == [MANY, *range(MANY - 1)]
    finding = check_lists(train, val)
    assert finding.level == FOUND
    assert finding.data == {"only_train": [ours[-1]], "only_val": ["a"], "moved": MANY}


@pytest.mark.parametrize(
    ("train", "val", "level", "words"),
    [
        (
            [1000, 50, 10],
            [200, 10, 2],
            NOTE,
            "the largest class in train has 100 times the images of the smallest",
        ),
        ([150, 130, 31], [60, 50, 11], NOTE, "the largest class in val has 5.45 times"),
        ([1300, 732, 1300], [50, 50, 50], FINE, "all 3 classes in both"),
        (
            [1000, 0, 10],
            [200, 10, 2],
            FOUND,
            "1 classes have no image in train; the largest class in train has 100",
        ),
    ],
)
def test_classes_of_very_different_sizes_are_noted(
    train: list[int], val: list[int], level: str, words: str
) -> None:
    labels = [np.repeat(np.arange(3), counts).astype(np.int64) for counts in (train, val)]
    finding = check_balance(Labels(names=("a", "b", "c"), train=labels[0], val=labels[1], num_train=3))
    assert finding.level == level and finding.verdict.startswith(words)
