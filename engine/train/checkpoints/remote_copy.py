"""Copies of a run's log and checkpoints at a URL, for machines that lose their disk when they end.

A thread copies beside training; a copy that fails prints a warning and does not end the run. A remote file gets its
name only when it is whole.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.runs.folder import CHECKPOINTS, LOG, STAGES, checkpoint_place, is_checkpoint


class RemoteCopy:
    """Copies files of the run in `folder` to `url`, a folder of any file system that fsspec knows.

    Raises UserError on construction for a URL that fsspec can't use.
    """

    def __init__(self, url: str, storage: dict[str, Any], folder: Path) -> None:
        # Not at the top: every run imports this module.
        import fsspec

        self.url, self.folder = url.rstrip("/"), folder
        try:
            self._system, self._root = fsspec.core.url_to_fs(self.url, **storage)
        except (ImportError, ValueError, TypeError) as error:
            raise UserError(f"checkpoint.copy_to: {url} can't be used: {error}") from None
        self._thread: threading.Thread | None = None

    def send(self, paths: Sequence[Path], keep: int) -> None:
        """Copy these files after those of the last call, keep the newest `keep` checkpoints there. Does not wait."""
        self.wait()
        self._thread = threading.Thread(target=self._send, args=(list(paths), keep), name="remote copy")
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is copied or has failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _send(self, paths: Sequence[Path], keep: int) -> None:
        try:
            for path in paths:
                self._put(path)
            names = self._names()
            numbered = sorted(filter(is_checkpoint, names), key=checkpoint_place, reverse=True)
            # A process that was killed while copying leaves a partial file.
            for old in [*numbered[keep:], *(name for name in names if name.endswith(".partial"))]:
                self._system.rm(f"{self._root}/{CHECKPOINTS}/{old}")
        # Each file system raises its own errors, and none of them may end the run.
        except Exception as error:  # noqa: BLE001
            print(f"warning: not copied to {self.url}: {_line(error)}", flush=True)

    def _put(self, path: Path) -> None:
        remote = f"{self._root}/{path.relative_to(self.folder)}"
        partial = f"{remote}.partial"
        self._system.makedirs(remote.rpartition("/")[0], exist_ok=True)
        self._system.put_file(str(path), partial)
        self._system.mv(partial, remote)

    def _names(self) -> list[str]:
        """The file names in the remote checkpoint folder."""
        folder = f"{self._root}/{CHECKPOINTS}"
        self._system.invalidate_cache()
        if not self._system.exists(folder):
            return []
        return [path.rpartition("/")[2] for path in self._system.ls(folder, detail=False)]

    def fetch(self) -> bool:
        """Download everything into the folder; returns whether there was anything. Raises UserError on a failure."""
        try:
            if not self._system.exists(self._root):
                return False
            print(f"{self.folder} has nothing to resume from: fetching {self.url}", flush=True)
            # A log or stages.yaml marks a run as begun, so they come last: a run without checkpoints starts again.
            for remote in sorted(self._system.find(self._root), key=_says_begun):
                name = remote.removeprefix(self._root).lstrip("/")
                if not name.endswith(".partial"):
                    local = self.folder / name
                    local.parent.mkdir(parents=True, exist_ok=True)
                    self._system.get_file(remote, str(local.with_name(f"{local.name}.partial-fetch")))
                    local.with_name(f"{local.name}.partial-fetch").replace(local)
        # As above, but here the user waits for the result.
        except Exception as error:  # noqa: BLE001
            raise UserError(f"checkpoint.copy_to: can't fetch {self.url}: {_line(error)}") from None
        return True


def _says_begun(name: str) -> int:
    """The order of a download: files with a larger number come later; 0 for files that mean nothing alone."""
    return 2 if name.endswith(f"/{STAGES}") else int(name.endswith(f"/{LOG}"))


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
