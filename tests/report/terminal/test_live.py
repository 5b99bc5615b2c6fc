"""The view of a run on the terminal: one bar over all of it, and what is foreseen."""

import io

import pytest

from engine.report.terminal.live import LiveView
from engine.runs.time_left import Ahead, Outlook
from tests.report.runs import epoch_lines, epochs_of

EPOCHS = epochs_of(epoch_lines(4, seconds=60, sizes=(160, 160)))
AHEAD = [Ahead(images=line.images or 0, side=line.resolution or 0) for line in EPOCHS]
WHOLE = sum(part.images for part in AHEAD)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _on_terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    """What stands for the terminal's side of stderr; to be called in the test, since pytest sets stderr before it."""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def test_bar_shows_progress_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    with LiveView(Outlook(epochs=AHEAD, done=2 * AHEAD[0].images), EPOCHS[:2], shown=True) as view:
        view.set_description("epoch 3/4, 160 px", refresh=False)
        view.refresh()
    shown = terminal.getvalue().split("\r")[-1]
    assert shown.startswith("epoch 3/4, 160 px:  50%|")
    # Two epochs of a minute, and a ninth of that for each validation.
    assert "2:13 left" in shown


def test_bar_shows_limit_of_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    with LiveView(Outlook(epochs=AHEAD), [EPOCHS[0].replaced(limited_by="decode")], shown=True):
        pass
    assert "limit: decode" in terminal.getvalue()


def test_bar_shows_loss_of_the_latest_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    with LiveView(Outlook(epochs=AHEAD), EPOCHS[:1], shown=True) as view:
        view.refresh()
        assert "loss" not in terminal.getvalue()
        view.loss = 2.3456
        view.refresh()
    assert "| loss 2.346, " in terminal.getvalue().split("\r")[-1]


def test_time_left_includes_later_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    later = [Ahead(images=AHEAD[0].images, side=320, validated=False)]
    outlook = Outlook(epochs=AHEAD[:2], later=later, label="stage 1 of 2")
    with LiveView(outlook, [], shown=True) as view:
        view.set_description("epoch 1/2, 160 px", refresh=False)
        assert view.logged(EPOCHS[0]) != ""
        # Twice the side of the same images: four times a minute (and the first took 1.08).
        assert view.logged(EPOCHS[1]) == "4:00 left"
    assert "stage 1 of 2, epoch 1/2, 160 px" in terminal.getvalue()


def test_speed_excludes_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_terminal(monkeypatch)
    clock = [100.0]
    monkeypatch.setattr("engine.report.terminal.live.time.perf_counter", lambda: clock[0])
    with LiveView(Outlook(epochs=AHEAD), [], shown=True) as view:
        clock[0] += 50
        view.update(1000)
        assert "– img/s, – left" in str(view)
        clock[0] += 10
        view.update(20000)
        assert "2,000 img/s" in str(view)
        assert f"{round((WHOLE - 21000) / 2000) // 60}:" in str(view).rpartition("img/s")[2]


def test_log_file_gets_no_bar_but_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView(Outlook(epochs=AHEAD), [], shown=True) as view:
        view.update(1000)
        assert view.logged(EPOCHS[0]).endswith(" left")
        for epoch in EPOCHS[1:]:
            words = view.logged(epoch)
    assert words == ""
    assert capsys.readouterr() == ("", "")


def test_other_ranks_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    with LiveView(Outlook(epochs=AHEAD), [], shown=False) as view:
        view.update(1000)
    assert terminal.getvalue() == ""


def test_replanned_run_has_a_new_whole_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _on_terminal(monkeypatch)
    with LiveView(Outlook(epochs=AHEAD, done=2 * AHEAD[0].images), EPOCHS[:2], shown=True) as view:
        view.replanned(Outlook(epochs=AHEAD[:3]))
        shown = terminal.getvalue().split("\r")[-1]
        assert " 67%|" in shown and "1:07 left" in shown
        # Finer than an epoch: the last one is cut short.
        view.replanned(Outlook(epochs=[*AHEAD[:2], Ahead(images=AHEAD[0].images // 2, side=160)]))
        assert " 80%|" in terminal.getvalue().split("\r")[-1]
        view.update(AHEAD[0].images // 2)
        assert view.logged(EPOCHS[2]) == ""
