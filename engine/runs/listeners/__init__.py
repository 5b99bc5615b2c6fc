"""Further places that a run's log is told to (logging.also): one file each, and none can end the run.

A new one is one file with a class as base.Logger says, a line in `LOGGERS`, and its name in
engine.config.train.logging. What it raises, whenever it does, is told in one line, and it is left out from then on.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from engine.runs.listeners.csv_table import CsvTable
from engine.runs.listeners.listener import Beginning, Logger, plain_line
from engine.runs.listeners.tensorboard_events import TensorBoardEvents
from engine.runs.listeners.wandb_run import WandbRun
from engine.runs.log_reader import Line

LOGGERS: dict[str, Callable[[Beginning], Logger]] = {
    "csv": CsvTable,
    "tensorboard": TensorBoardEvents,
    "wandb": WandbRun,
}


class Loggers:
    """Those of one run, by name. Calls go to each that still works; nothing that goes wrong in one comes out."""

    def __init__(self, names: Sequence[str], beginning: Beginning) -> None:
        self._open: dict[str, Logger] = {}
        for name in names:
            try:
                self._open[name] = LOGGERS[name](beginning)
            # Whatever it is: what was asked for beside the log must not end hours of training.
            except Exception as error:  # noqa: BLE001
                _tell(name, error)

    def write(self, line: Line) -> None:
        """Tell each of a line of the log."""
        for name, logger in [*self._open.items()]:
            try:
                logger.write(line)
            except Exception as error:  # noqa: BLE001 - as above
                _tell(name, error)
                del self._open[name]
                # It may not even be able to end; what is wrong with it has been told.
                with contextlib.suppress(Exception):
                    logger.close()

    def close(self) -> None:
        """Let each finish what it has begun; calling it again does nothing."""
        while self._open:
            name, logger = self._open.popitem()
            try:
                logger.close()
            except Exception as error:  # noqa: BLE001 - as above
                _tell(name, error)


def _tell(name: str, error: Exception) -> None:
    if isinstance(error, ImportError):
        reason = f"it can't be imported ({plain_line(error)}): pip install {name}"
    elif isinstance(error, OSError) and error.filename:
        reason = f"{Path(error.filename)}: {error.strerror}"
    else:
        reason = plain_line(error)
    # Above the progress bar, where there is one.
    tqdm.write(f"note: {name}: {reason}; the run goes on without it")
