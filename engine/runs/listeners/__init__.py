"""Further places that a run's log goes to (logging.also): one file each, and none can end the run.

A new one is one file with a class that registers itself, an import here, and its name in engine.config.train.logging.
Whatever it raises, whenever, is printed in one line, and it is dropped from then on.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

# Imported for their registration.
from engine.runs.listeners import csv_table, tensorboard_events, wandb_run  # noqa: F401
from engine.runs.listeners.listener import LISTENERS, Beginning, Listener, plain_line
from engine.runs.log_schema import LogLine


class Listeners:
    """Those of one run, by name. Calls go to each that still works; no error of one gets out."""

    def __init__(self, names: Sequence[str], beginning: Beginning) -> None:
        self._open: dict[str, Listener] = {}
        for name in names:
            try:
                self._open[name] = LISTENERS[name](beginning)
            # Whatever it is: what was asked for beside the log must not end hours of training.
            except Exception as error:  # noqa: BLE001
                _report(name, error)

    def write(self, line: LogLine) -> None:
        """Pass a line of the log to each."""
        for name, listener in [*self._open.items()]:
            try:
                listener.write(line)
            except Exception as error:  # noqa: BLE001 - as above
                _report(name, error)
                del self._open[name]
                # It may not even be able to end; its fault has been reported.
                with contextlib.suppress(Exception):
                    listener.close()

    def close(self) -> None:
        """Let each finish what it has begun; calling it again does nothing."""
        while self._open:
            name, listener = self._open.popitem()
            try:
                listener.close()
            except Exception as error:  # noqa: BLE001 - as above
                _report(name, error)


def _report(name: str, error: Exception) -> None:
    if isinstance(error, ImportError):
        reason = f"it can't be imported ({plain_line(error)}): pip install {name}"
    elif isinstance(error, OSError) and error.filename:
        reason = f"{Path(error.filename)}: {error.strerror}"
    else:
        reason = plain_line(error)
    # Above the progress bar, where there is one.
    tqdm.write(f"note: {name}: {reason}; the run continues without it")
