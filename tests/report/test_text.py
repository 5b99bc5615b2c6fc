"""Numbers and moments as people read them."""

import math

import pytest

from engine.report import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (7.31, "7.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (149, "2 min 29 s"),
        (119.6, "2 min"),
        (3599.7, "1 h"),
        (4620, "1 h 17 min"),
        (7200, "2 h"),
    ],
)
def test_duration_never_shows_sixty_of_a_unit(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(4.26, "4.3"), (845.2, "845"), (9876, "9,876"), (12345, "12.3k"), (1.5e6, "1.50M")]
)
def test_rate_keeps_about_three_figures(value: float, words: str) -> None:
    assert text.rate(value) == words


@pytest.mark.parametrize(("seconds", "words"), [(7, "0:07"), (67.4, "1:07"), (4620, "1:17:00")])
def test_clock_formats_hours_minutes_and_seconds(seconds: float, words: str) -> None:
    assert text.clock(seconds) == words


def test_accuracy_has_two_decimals() -> None:
    assert text.percent(0.92314) == "92.31%"
    assert text.percent(1) == "100.00%"


@pytest.mark.parametrize(
    "show", [text.percent, text.number, text.count, text.rate, text.duration, text.clock, text.significant]
)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, "text", True])
def test_unknown_number_is_a_dash(show: object, value: object) -> None:
    assert callable(show)
    assert show(value) == text.MISSING


def test_settings_read_as_in_a_recipe() -> None:
    assert [text.setting(value) for value in (True, 5e-5, 4 / 3, 8, "")] == [
        "true",
        "5e-05",
        "1.33333",
        "8",
        "(empty)",
    ]


def test_moment_shows_date_time_and_offset() -> None:
    assert text.moment("2026-11-21T12:05:00+00:00") == "2026-11-21 12:05:00 +00:00"
    assert text.moment(None) == text.MISSING
