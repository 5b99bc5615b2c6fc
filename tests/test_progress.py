"""Progress is a bar on a terminal and plain lines elsewhere, both on stderr; sizes and times are readable."""

import io
import sys
import threading

import pytest

from engine.progress import Progress, human_bytes, human_rate, human_time, scanning, seconds_left


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def _as_stderr(monkeypatch: pytest.MonkeyPatch, is_terminal: bool = True) -> io.StringIO:
    """A terminal, or a pipe, in the place of stderr. Not a fixture: pytest sets stderr after them."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_no_terminal_prints_a_line_every_30_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", 4000) as progress:
        for seconds in (10, 25, 15):
            clock[0] += seconds
            progress.update(500, size=2_500_000, rejected=3)
    assert progress.seconds == 50
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "train: 1,000 of 4,000 images, 29 images/s, 2.5 MB written (71.4 kB/s), 3 rejected, 1.8 min left\n"
    ), "one line after 35 s, the next one not before 65 s"


def test_earlier_work_is_excluded_from_rate_and_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", 4000, done=3000, size=7_000_000) as progress:
        clock[0] += 40
        progress.update(400, size=8_000_000, rejected=0)
    assert capsys.readouterr().err == (
        "train: 3,400 of 4,000 images, 10 images/s, 8.0 MB written (25.0 kB/s), 0 rejected, 1.0 min left\n"
    )


def test_byte_counts_are_shown_as_sizes(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with scanning("a.tar", 3_000_000, "bytes") as progress:
        clock[0] += 50
        progress.reach(500_000)
        progress.reach(1_000_000)
        clock[0] += 50
        progress.reach(1_500_000)
    assert capsys.readouterr().err.splitlines() == [
        "scanning a.tar: 500.0 kB of 3.0 MB, 10.0 kB/s, 4.2 min left",
        "scanning a.tar: 1.5 MB of 3.0 MB, 15.0 kB/s, 1.7 min left",
    ]


def test_no_work_done_shows_no_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 10) as progress:
        clock[0] += 31
        progress.update(0)
    assert capsys.readouterr().err == "train: 0 of 10 images, 0 images/s\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_hidden_progress_prints_nothing(
    is_terminal: bool, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _as_stderr(monkeypatch, is_terminal)
    with Progress("val", 20, shown=False) as progress:
        clock[0] += 40
        progress.update(20)
    assert terminal.getvalue() == "" and progress.done == 20


def test_terminal_bar_is_removed_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = _as_stderr(monkeypatch)
    with Progress("val", 20, verb="read") as progress:
        progress.update(20, size=1_000)
    assert capsys.readouterr().out == ""
    assert "val: " in terminal.getvalue() and "20 [" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_bar_is_removed_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _as_stderr(monkeypatch)
    with pytest.raises(ValueError, match="full"), Progress("val", 20) as progress:
        progress.update(5)
        raise ValueError("the disk is full")
    assert terminal.getvalue().endswith("\r")


def test_quick_scan_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _as_stderr(monkeypatch)
    with scanning("folder", 3, "class folders") as progress:
        for done in (1, 2, 3):
            progress.reach(done)
    assert terminal.getvalue() == ""


def test_updates_of_many_threads_are_all_counted() -> None:
    with Progress("train", 4000) as progress:

        def work() -> None:
            for _ in range(1000):
                progress.update(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert progress.done == 4000


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


def test_rates_have_the_unit_of_the_count() -> None:
    assert human_rate(5000, 2, "images") == "2,500 images/s"
    assert human_rate(5e6, 2, "bytes") == "2.5 MB/s"


def test_time_left_assumes_the_mean_rate() -> None:
    assert seconds_left(done=10, left=30, seconds=5) == 15
