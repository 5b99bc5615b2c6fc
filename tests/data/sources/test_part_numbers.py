"""Files that are missing by the numbers in their names are named; other numbers in names are left alone."""

import pytest

from engine.data.sources.access.part_numbers import refuse_missing_parts
from engine.errors import UserError


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ("t-00000-of-00003 t-00002-of-00003", "1 of 3 files are missing (t-00001-of-00003.tar), by the name of t-0"),
        ("t-00000-of-00003", "2 of 3 files are missing (t-00001-of-00003.tar, t-00002-of-00003.tar), by the"),
        ("t-00000-of-00003-a1b2c3d4 t-00002-of-00003-e5f6a7b8", "t-00001-of-00003.tar"),
        ("t_2_of_3 t_3_of_3", "t_1_of_3.tar"),
        ("a/t-000 a/t-002", "1 of 3 files are missing (t-001.tar), by the name of a/t-000.tar: get"),
        ("t-1 t-2 t-4", "1 of 4 files are missing (t-3.tar), by the name of t-1.tar"),
        ("t-00 t-09", "8 of 10 files are missing (t-01.tar, t-02.tar, t-03.tar and 5 more), by the"),
        ("t-0-of-999999999", "999,999,998 of 999,999,999 files are missing"),
        ("t-5-of-2", "t-5-of-2.tar is beyond the 2 parts that its name states"),
        ("t-0-of-2 t-1-of-2 t-2-of-2", "t-2-of-2.tar is beyond the 2 parts"),
        ("t-0-of-2 t-1-of-2 t-0-of-1", "t-0-of-2.tar is of 2 parts and t-0-of-1.tar of 1: remove the files of one set"),
        ("t-0-of-1-a1b2c3d4 t-0-of-1-e5f6a7b8", "are both part 0 of 1: remove the one that is out of date"),
    ],
)  # fmt: skip
def test_missing_or_mixed_parts_are_refused_by_name(names: str, missing: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_missing_parts([f"{name}.tar" for name in names.split()])
    assert missing in str(caught.value)
    assert "get them, or pass --source.check_counts=false" in str(caught.value) or "remove" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "names",
    [
        "t-00000-of-00002 t-00001-of-00002",
        "t-1-of-2 t-2-of-2",
        "a/t-0-of-1 b/t-0-of-1",
        "t-000 t-001 t-002",
        "t-8 t-9 t-10 t-11",
        "t-2019 t-2021",
        "t-005 t-007",
        "t-0 t-20240101",
        "t-0 t-123456789012345678901234567890",
        "t x y",
        "t-v1-000 t-v1-001 t-v3-000",
    ],
)
def test_whole_sets_and_other_numbers_are_accepted(names: str) -> None:
    refuse_missing_parts([f"{name}.tar" for name in names.split()])


def test_number_that_is_in_the_other_split_is_no_gap() -> None:
    refuse_missing_parts(["train/000.tar", "train/002.tar"], ["val/001.tar"])
    with pytest.raises(
        UserError, match=r"1 of 4 files are missing \(002\.tar\), by the name of train/000\.tar"
    ):
        refuse_missing_parts(["train/000.tar", "train/003.tar"], ["val/001.tar"])
