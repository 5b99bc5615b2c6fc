"""Ctrl-C while processes are being started; test_sudden_ends.py has the interruptions from outside."""

import signal
import threading
import time

import pytest

from engine.data.convert.workers import ctrl_c_held_back


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
