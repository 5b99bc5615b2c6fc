"""The exceptions that end a program, and the one place that turns them into a line and an exit code.

The exit codes are explained in docs/reference/exit_codes.md; a test holds that page and the constants here together.
"""

import errno
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from engine.streams import guard_streams, say_once

EXIT_DONE = 0
"""Finished; a target or a check, if there was one, was met."""
EXIT_MISSED = 1
"""Finished, but missed its target or found a problem."""
EXIT_USER = 2
"""The user's input or machine is at fault; the line on stderr says what to do."""
EXIT_BUG = 70
"""A bug (EX_SOFTWARE of sysexits), with a traceback. Python's own code for it, 1, would read as a missed target."""
EXIT_AGAIN = 75
"""SIGTERM or SIGUSR1, after saving (EX_TEMPFAIL): start the same command again."""
EXIT_CTRL_C = 130
"""Ctrl-C."""
EXIT_NOT_READ = 141
"""Nobody reads the output any more, as in `... | head` (a shell's code for SIGPIPE)."""


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what, where, what to do."""


class Interrupted(BaseException):
    """SIGTERM or SIGUSR1 ends the process. The message names the signal and says what was saved.

    Like KeyboardInterrupt it is not an Exception, so that `except Exception` lets it pass.
    """


def describe_os_error(error: OSError, path: Path | str, action: str) -> UserError:
    """The one-line UserError for a system error during `action` (such as "write") on `path`."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space, or choose another folder",
        errno.EDQUOT: "the disk quota is used up: free some space, or choose another folder",
        errno.EACCES: "permission denied: check the owner and mode, or choose another folder",
        errno.EPERM: "not permitted: check the owner and mode, or choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "it does not exist: check the path",
        errno.ENOTDIR: "part of the path is a file, not a folder: check the path",
        errno.EISDIR: "it is a folder, not a file: check the path",
        errno.ENAMETOOLONG: "a name in the path is too long: shorten it",
        errno.EIO: "the disk reports a read/write error: check the disk",
    }
    reason = advice.get(error.errno or 0, error.strerror or str(error))
    return UserError(f"cannot {action} {path}: {reason}")


def run_cli(main: Callable[[], int], *, prints: bool = True) -> NoReturn:
    """Run `main` and end the process with the exit code it returns.

    A UserError becomes one line and EXIT_USER, an interruption one line and EXIT_AGAIN or EXIT_CTRL_C, anything else
    a traceback and EXIT_BUG. `prints`: what `main` prints is its result. Then it ends when nobody reads it, and
    stdout that can't be written is a failure. Otherwise a lost stdout changes nothing.
    """
    output = guard_streams(piped=prints)
    code = EXIT_BUG
    try:
        code = main()
    except SystemExit as end:
        # After --help.
        code, prints = int(end.code or EXIT_DONE), True
    except UserError as error:
        say_once(f"error: {' '.join(str(error).splitlines())}")
        code = EXIT_USER
    except Interrupted as interrupted:
        print(f"interrupted: {interrupted}", file=sys.stderr, flush=True)
        code = EXIT_AGAIN
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        code = EXIT_CTRL_C
    except Exception as error:  # noqa: BLE001 - a bug: shown in full, with a code of its own
        if output is None or error is not output.lost:
            traceback.print_exc()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    if output is not None and output.lost:
        code = _without_output(output.lost, code, prints=prints)
    sys.exit(code)


def _without_output(lost: OSError, code: int, *, prints: bool) -> int:
    """The exit code where stdout could not be written, with a line on stderr."""
    if prints and lost.errno == errno.EPIPE:
        return EXIT_NOT_READ
    if prints:
        print(
            f"error: stdout could not be written ({lost.strerror}): write it to another place",
            file=sys.stderr,
        )
        return code or EXIT_USER
    print(f"warning: stdout could not be written ({lost.strerror}); nothing else was lost", file=sys.stderr)
    return code
