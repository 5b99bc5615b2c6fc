"""Values as people write them."""

import pytest

from engine.errors import UserError
from engine.plan.asked import read_data, read_price, read_seconds, read_target


@pytest.mark.parametrize(
    ("text", "share"),
    [("76", 0.76), ("0.76", 0.76), ("76%", 0.76), ("0.5%", 0.005), ("100", 1.0), (None, None)],
)
def test_target_is_percent_or_share(text: str | None, share: float | None) -> None:
    assert read_target(text) == pytest.approx(share) if share else read_target(text) is None


@pytest.mark.parametrize("text", ["101", "0", "-3", "nan", "inf", "high", "150%"])
def test_senseless_target_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--target"):
        read_target(text)


@pytest.mark.parametrize("text", ["32.77/h", "32.77", "32.77 / hour", "$32.77/h"])
def test_price_is_per_hour(text: str) -> None:
    assert read_price(text) == 32.77


@pytest.mark.parametrize("text", ["-3", "0", "free", "3/min", "1.2.3", "nan"])
def test_senseless_price_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--price"):
        read_price(text)


def test_time_is_hours_or_minutes() -> None:
    assert read_seconds(None, None) is None
    assert read_seconds(1.5, None) == 5400
    assert read_seconds(None, 3.0) == 180
    for hours, minutes in ((0.0, None), (None, -1.0), (float("nan"), None), (1.0, 1.0)):
        with pytest.raises(UserError, match=r"--hours|--minutes"):
            read_seconds(hours, minutes)


def test_data_is_two_files() -> None:
    assert read_data("a, b") == ("a", "b")
    assert read_data(None) is None
    for text in ("a", "a,", "a,b,c"):
        with pytest.raises(UserError, match="--data"):
            read_data(text)
