"""Ctrl-C in the first seconds, while modules are being imported: one line and exit code 130, never a traceback."""

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.ctrl_c import importing
from engine.errors import EXIT_CTRL_C, EXIT_USER

COMMANDS = {
    # Each ends by itself, with a line about the missing files, after torch or numpy were imported.
    "train": [
        "train_imagenet.py",
        "--data.train_dataset=none",
        "--data.val_dataset=none",
        "--logging.folder={}",
    ],
    "write": ["write_dataset.py", "--source.path=none", "--output.folder={}/out"],
    "verb": ["-m", "engine", "checkpoint", "none.pt"],
}


def interrupted(command: list[str], after: float, repository: Path) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of a command that gets SIGINT `after` seconds from the first import it guards.

    Before that Python itself is starting, which shows a traceback of its own.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command],
        cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    lines: list[str] = []
    guarded = False
    for line in process.stderr:
        lines.append(line)
        if guarded:
            break
        guarded = line.split("|")[-1].strip() == "engine.ctrl_c"
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
    reader.start()
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    reader.join()
    process.stderr.close()
    return code, [line.strip() for line in lines if not line.startswith("import time:")]


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_in_the_first_second_is_one_line(name: str, repository: Path, tmp_path: Path) -> None:
    draws, codes = random.Random(name), []
    for number in range(6):
        after = 0.02 * number if number < 2 else draws.uniform(0, 1)
        command = [word.format(tmp_path) for word in COMMANDS[name]]
        code, lines = interrupted(command, after, repository)
        assert "Traceback" not in "\n".join(lines), (after, lines)
        assert len(lines) == 1, (after, lines)
        # A fast machine may be done before the signal, or be leaving: then Python has given up its handler.
        ended = code in (EXIT_USER, -signal.SIGINT) and lines[0].startswith("error: ")
        assert ended or (code, lines[0]) == (EXIT_CTRL_C, "interrupted"), (after, code, lines)
        codes.append(code)
    assert EXIT_CTRL_C in codes


def test_importing_restores_the_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with importing():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None])
def test_importing_keeps_a_handler_that_is_not_pythons(handler: Any) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with importing():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_importing_in_another_thread_changes_nothing() -> None:
    found: list[object] = []

    def work() -> None:
        with importing():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before] and signal.getsignal(signal.SIGINT) is before
