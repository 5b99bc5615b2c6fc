"""Whatever becomes of stdout and stderr: the work is done, its exit code is true, and no traceback is shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import streams

NAME = "\u65e5\u672c \udce9"
"""A name that cp1252 does not have, and a byte that is not UTF-8."""

SCRIPT = """
import sys
from pathlib import Path
from engine.errors import UserError, run_cli

def main():
    print("begun", flush=True)
    print("begun", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text("done")
    print(sys.argv[2], flush=True)
    if sys.argv[2] == "wrong":
        raise UserError("wrong")
    return int(sys.argv[3])

run_cli(main, prints=sys.argv[4] == "prints")
"""


def _run(
    redirection: str, folder: Path, *, word: str = "word", code: int = 0, prints: bool = False, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """A command in a shell; asserts that it did its work."""
    words = [sys.executable, "-c", SCRIPT, str(folder / "done"), word, str(code), "prints" if prints else "-"]
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {redirection}', "bash", *words],
        capture_output=True, env={**os.environ, **more}, check=False,
    )  # fmt: skip
    assert (folder / "done").read_text() == "done"
    assert b"Traceback" not in done.stderr
    return done


@pytest.fixture(autouse=True)
def _here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full", "1</dev/null"])
def test_lost_stream_keeps_the_exit_code(redirection: str, tmp_path: Path) -> None:
    assert _run(redirection, tmp_path, code=1).returncode == 1


def test_closed_stderr_leaves_stdout_clean(tmp_path: Path) -> None:
    done = _run("2>&-", tmp_path, word="wrong")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"begun\nwrong\n", b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_stdout_is_a_warning_where_files_are_the_result(unbuffered: str, tmp_path: Path) -> None:
    done = _run(">/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[1:] == [
        "warning: stdout could not be written (No space left on device); nothing else was lost"
    ]


def test_full_stdout_is_an_error_where_print_is_the_result(tmp_path: Path) -> None:
    done = _run(">/dev/full", tmp_path, prints=True)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[1:] == [
        "error: stdout could not be written (No space left on device): write it to another place"
    ]
    assert _run(">/dev/full", tmp_path, prints=True, code=1).returncode == 1


def test_reader_that_leaves_does_not_end_work_on_files(tmp_path: Path) -> None:
    done = _run("> >(exec 0<&-; sleep 0.1)", tmp_path, code=1)
    assert done.returncode == 1
    assert b"warning: stdout could not be written (Broken pipe)" in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii:surrogateescape", "utf-8"])
def test_any_name_is_printed_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    done = _run("", tmp_path, word=NAME, PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    letters = "\u65e5\u672c" if encoding == "utf-8" else r"\u65e5\u672c"
    assert done.stdout.decode() == f"begun\n{letters} \\udce9\n"


def test_users_own_replacement_is_kept(tmp_path: Path) -> None:
    assert _run("", tmp_path, word=NAME, PYTHONIOENCODING="ascii:replace").stdout == b"begun\n?? ?\n"


def test_busy_terminal_gets_every_line(repository: Path) -> None:
    script = "from engine.errors import run_cli\nimport os\nos.set_blocking(1, False)\n"
    script += "run_cli(lambda: [print('x' * 99) for _ in range(9999)] and 0)"
    done = subprocess.run(
        ["bash", "-c", '"$@" | (sleep 0.5; wc -c)', "bash", sys.executable, "-c", script],
        cwd=repository, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("999900\n", "")


def test_ranks_of_a_host_say_a_line_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(streams, "_said", [])
    monkeypatch.setattr("time.sleep", lambda _: None)
    rank = {"LOCAL_WORLD_SIZE": "2"}
    for environment in (rank, rank, {"LOCAL_WORLD_SIZE": "1"}, {}):
        streams.say_once("error: the disk is full", environment)
    streams.say_once("error: another one", rank)
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: the disk is full"] * 3 + ["error: another one"]
    for name in streams._said:
        name.close()
