"""The one exception for a user's mistake, and the one place that turns it into a line and an exit code.

Exit codes: 0 done (and the target, where one was set, met); 1 ran, but missed its target or a check;
2 the user's input or machine is at fault and the line on stderr says what to do; 75 (sysexits' EX_TEMPFAIL)
interrupted by SIGTERM or SIGUSR1 after saving, start me again; 130 interrupted by Ctrl-C;
141 (a shell's word for SIGPIPE) nobody reads what is printed any more, as in `... | head`;
70 (sysexits' EX_SOFTWARE) a bug, with a traceback. Python's own code for a bug is 1, which would pass for a
missed target.
"""

import errno
import os
import select
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

EXIT_BUG = 70
EXIT_AGAIN = 75
EXIT_NOT_READ = 141


class UserError(Exception):
    """Something the user can put right. The message is one line: what, where, what to do."""


class Interrupted(BaseException):
    """SIGTERM or SIGUSR1 ends the process. The message says which, and what was saved.

    As KeyboardInterrupt, no Exception: what catches those to go on must let it pass.
    """


def describe_os_error(error: OSError, path: Path | str, action: str) -> UserError:
    """The one line for a system error met while doing `action` (such as "write") on `path`."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space or choose another folder",
        errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
        errno.EACCES: "permission denied: check the owner and mode, or choose another folder",
        errno.EPERM: "not permitted: check the owner and mode, or choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "it does not exist: check the path",
        errno.ENOTDIR: "a part of the path is a file, not a folder: check the path",
        errno.EISDIR: "it is a folder, not a file: check the path",
        errno.ENAMETOOLONG: "a part of the path is too long a name: shorten it",
        errno.EIO: "the disk reports a read/write error: check the disk",
    }
    reason = advice.get(error.errno or 0, error.strerror or str(error))
    return UserError(f"cannot {action} {path}: {reason}")


def run_cli(main: Callable[[], int]) -> NoReturn:
    """Run `main` and leave the process with its exit code; a UserError becomes one line and exit code 2."""
    code = EXIT_BUG
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        if _is_read():
            traceback.print_exc()
        else:
            code = EXIT_NOT_READ
    except UserError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr, flush=True)
        code = 2
    except Interrupted as interrupted:
        print("interrupted:", interrupted, file=sys.stderr, flush=True)
        code = EXIT_AGAIN
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        code = 130
    except Exception:  # noqa: BLE001 - a bug: shown whole, and told apart from a missed target by its code
        traceback.print_exc()
    sys.exit(code)


def _is_read() -> bool:
    """Whether somebody still reads what this process prints; if not (`... | head`), it prints nothing more."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    # The other end of a pipe is closed.
    if any(event & select.POLLERR for _, event in output.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
