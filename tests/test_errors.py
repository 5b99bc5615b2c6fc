"""A user's mistake is one line and exit code 2, and no other end of the program can be taken for it."""

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import errors
from engine.__main__ import VERBS, WRITERS
from engine.errors import EXIT_BUG, UserError, describe_os_error, run_cli


def _leave(main: Callable[[], int]) -> object:
    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    return caught.value.code


def _raise(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize("code", [0, 1, 75])
def test_return_value_of_main_is_the_exit_code(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert _leave(lambda: code) == code
    assert capfd.readouterr() == ("", "")


def test_user_error_is_one_line_and_code_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert _leave(_raise(UserError("the file\nis  odd: repair it"))) == 2
    assert capfd.readouterr() == ("", "error: the file is  odd: repair it\n")


def test_ctrl_c_is_one_line_and_code_130(capfd: pytest.CaptureFixture[str]) -> None:
    assert _leave(_raise(KeyboardInterrupt())) == 130
    assert capfd.readouterr().err == "interrupted\n"


def test_bug_shows_its_traceback_and_code_70(capfd: pytest.CaptureFixture[str]) -> None:
    assert _leave(_raise(ZeroDivisionError("oops"))) == EXIT_BUG
    assert EXIT_BUG not in (0, 1, 2, 75, 130)
    assert "Traceback" in (shown := capfd.readouterr().err) and "ZeroDivisionError: oops" in shown


def test_system_exit_keeps_its_code() -> None:
    assert _leave(_raise(SystemExit(0))) == 0


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "does not exist"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.EISDIR, "is a folder, not a file"),
    ],
)
def test_system_error_says_what_where_and_what_to_do(code: int, advice: str) -> None:
    message = str(describe_os_error(OSError(code, "whatever"), "/some/file", "write"))
    assert message.startswith("cannot write /some/file: ") and advice in message
    assert "\n" not in message


def test_unlisted_system_error_keeps_the_systems_message() -> None:
    assert str(describe_os_error(OSError(errno.ELOOP, "Too many links"), "a", "open")).endswith(
        "Too many links"
    )
    assert str(describe_os_error(OSError("no number at all"), "a", "open")).endswith("no number at all")


@pytest.mark.parametrize("body", ["while True: print('line')", "print('line')"], ids=["long", "short"])
def test_closed_output_ends_without_a_traceback(body: str, repository: Path) -> None:
    script = f"from engine.errors import run_cli\ndef main():\n    input()\n    {body}\nrun_cli(main)"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 141
    process.stderr.close()


def test_broken_pipe_elsewhere_is_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    assert _leave(_raise(BrokenPipeError("a worker is gone"))) == 70
    assert "a worker is gone" in capfd.readouterr().err


def test_exit_codes_page_lists_the_verbs_that_print(repository: Path) -> None:
    page = (repository / "docs/reference/exit_codes.md").read_text(encoding="utf-8")
    listed = page.split("Commands whose result is what they print (")[1].split(")")[0]
    assert set(re.findall(r"`([a-z-]+)`", listed)) == set(VERBS) - WRITERS


def test_exit_codes_page_lists_the_constants(repository: Path) -> None:
    page = (repository / "docs/reference/exit_codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(EXIT_\w+)` \|", page, re.MULTILINE)
    constants = {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {name: int(code) for code, name in rows} == constants
    assert len(rows) == len(constants) == len(set(constants.values()))
