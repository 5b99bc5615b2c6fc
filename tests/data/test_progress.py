"""Progress is a bar on a terminal and plain lines in a log; sizes are readable."""

import io
import sys

import pytest

from engine.data.progress import Progress, human_bytes


def test_a_log_gets_a_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress("train", 4000) as shown:
        for seconds in (10, 25, 15):
            clock[0] += seconds
            shown.update(500, 2_500_000)
    assert shown.seconds == 50
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == ("train: 1,000 of 4,000 images, 29 images/s, 2.5 MB written, 1.8 min left\n"), (
        "one line after 35 s, the next one not before 65 s"
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
