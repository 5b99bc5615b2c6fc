"""Progress is a bar on a terminal and plain lines in a log; sizes are readable."""

import io
import sys

import pytest

from engine.progress import Progress, human_bytes, human_time


def test_a_log_gets_a_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress("train", 4000) as shown:
        for seconds in (10, 25, 15):
            clock[0] += seconds
            shown.update(500, 2_500_000, 3)
    assert shown.seconds == 50
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == (
        "train: 1,000 of 4,000 images, 29 images/s, 2.5 MB written (71.4 kB/s), 3 rejected, 1.8 min left\n"
    ), "one line after 35 s, the next one not before 65 s"


def test_what_was_there_before_counts_neither_for_the_rate_nor_for_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress("train", 4000, 3000, 7_000_000) as shown:
        clock[0] += 40
        shown.update(400, 8_000_000)
    assert capsys.readouterr().out == (
        "train: 3,400 of 4,000 images, 10 images/s, 8.0 MB written (25.0 kB/s), 0 rejected, 1.0 min left\n"
    )


def test_a_terminal_gets_a_bar_that_vanishes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("val", 20) as shown:
        shown.update(20, 1_000)
    assert capsys.readouterr().out == ""
    assert "val: " in terminal.getvalue() and "20 [" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (72_548_216, "72.5 MB"),
        (3.4e11, "340.0 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_are_readable(count: float, expected: str) -> None:
    assert human_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (59, "59 s"), (108, "1.8 min"), (9720, "2.7 h")]
)
def test_times_are_readable(seconds: float, expected: str) -> None:
    assert human_time(seconds) == expected
