"""Ctrl-C while processes are being started; test_sudden_ends.py has the interruptions from outside."""

import signal
import threading
import time

import pytest

from engine.data.convert.workers import ctrl_c_held_back, default_workers


@pytest.mark.parametrize("taken_by", ["this thread", "another thread"])
def test_ctrl_c_is_held_back_until_the_start_ends(taken_by: str) -> None:
    # The system hands the signal to any thread that doesn't block it, such as one of a library's.
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    target = threading.main_thread() if taken_by == "this thread" else other
    assert target.ident is not None
    answer, started = signal.getsignal(signal.SIGINT), False
    try:
        with pytest.raises(KeyboardInterrupt), ctrl_c_held_back():
            signal.pthread_kill(target.ident, signal.SIGINT)
            time.sleep(0.05)
            started = True
    finally:
        end.set()
        other.join()
    assert started
    assert signal.getsignal(signal.SIGINT) is answer
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_no_ctrl_c_raises_nothing_in_any_thread() -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            with ctrl_c_held_back():
                pass
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    start()
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert not errors


@pytest.mark.parametrize(
    ("conversions", "cores", "megabytes", "workers"),
    [
        (1, 16, 64_000, 16),
        (1, 16, 1_024, 8),
        (4, 16, 1_024, 2),
        (4, 16, 10, 1),
        (1, 1, 10, 1),
        (3, 16, 64_000, 5),
    ],
)
def test_default_workers_fit_into_memory(
    conversions: int, cores: int, megabytes: int, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert default_workers(conversions, cores, megabytes * 2**20) == workers
    assert ("MB of memory are free" in capsys.readouterr().out) is (workers * conversions < min(cores, 15))
