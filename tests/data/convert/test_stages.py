"""The stage that a conversion waited for is named, with what the others did."""

import pytest

from engine.data.convert.estimate import Stages


@pytest.mark.parametrize(
    ("workers", "seconds", "expected"),
    [
        (
            2,
            (1, 18, 2),
            "limited by encoding: 2 workers busy 95% (reading 5%, encoding 90%), writing 20% of the time",
        ),
        (
            2,
            (15, 4, 2),
            "limited by reading: 2 workers busy 95% (reading 75%, encoding 20%), writing 20% of the time",
        ),
        (
            4,
            (2, 4, 9),
            "limited by writing: 4 workers busy 15% (reading 5%, encoding 10%), writing 90% of the time",
        ),
        (
            2,
            (1, 3, 1),
            "limited by starting and waiting: 2 workers busy 20% (reading 5%, encoding 15%), writing 10%",
        ),
        (
            1,
            (1, 3, 6),
            "limited by writing: 1 worker busy 40% (reading 10%, encoding 30%), writing 60% of the time",
        ),
        (
            1,
            (0, 6, 3),
            "limited by encoding: 1 worker busy 60% (reading 0%, encoding 60%), writing 30% of the time",
        ),
    ],
)
def test_limiting_stage_is_named(workers: int, seconds: tuple[float, float, float], expected: str) -> None:
    reading, encoding, writing = seconds
    stages = Stages(workers=workers, reading=reading, encoding=encoding, writing=writing, total=10)
    assert stages.describe().startswith(expected)


def test_no_work_done_does_not_divide_by_zero() -> None:
    assert "0%" in Stages(workers=2).describe()
