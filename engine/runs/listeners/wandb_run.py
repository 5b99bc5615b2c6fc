"""A run at Weights & Biases; offline it is kept in the run's folder `wandb`, and `wandb sync` sends it later.

A resumed run is the same run there: its id is made of when and where it was first begun.
"""

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.runs.folder import WANDB
from engine.runs.listeners.listener import LISTENERS, Beginning, figures, within_epoch
from engine.runs.log_schema import EpochLine, LogLine, ResultLine, StartLine, StepsLine

LOGIN_SECONDS, FINISH_SECONDS = 30, 120
"""Timeouts: for a login and the server at the start, for sending the rest at the end."""

ROOM = 2**20
"""Free bytes of the disk below which nothing more is written: W&B itself drops what it can't write, silently."""


@LISTENERS.register("wandb")
class WandbRun:
    """Each epoch's figures over the epoch, with losses between; the result as the run's summary, the settings as its
    configuration."""

    def __init__(self, beginning: Beginning) -> None:
        # Whoever does not ask for it need not have it, and it takes a second to import.
        import wandb

        self._wandb, self._beginning = wandb, beginning
        # Made here: wandb would fall back to the system's temporary folder with a warning.
        self._folder = beginning.folder / WANDB
        self._folder.mkdir(exist_ok=True)
        self._run: wandb.Run | None = None

    def write(self, line: LogLine) -> None:
        """Raises OSError on a full disk, and what wandb raises: without a login, a connection, its process."""
        if shutil.disk_usage(self._folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        if isinstance(line, StartLine):
            self._begin(line)
        elif self._run is None:
            return
        elif isinstance(line, EpochLine):
            words = {key: value for key, value in _without_kind(line).items() if isinstance(value, str)}
            self._run.log({**words, **figures(line)})
        elif isinstance(line, StepsLine):
            # On the same axis, between the epochs.
            passed = line.epoch - 1 + line.step / (line.steps or line.step)
            self._run.log({"epoch": passed, **within_epoch(line)})
        elif isinstance(line, ResultLine):
            self._run.summary.update(_without_kind(line))

    def close(self) -> None:
        """Write, or send, what is left, and end the process that does it."""
        try:
            if self._run is not None:
                self._run.finish()
        finally:
            # Also where nothing is left to finish: its own hook at exit prints a traceback if its process was killed.
            self._wandb.teardown()

    def _begin(self, line: StartLine) -> None:
        beginning, wandb = self._beginning, self._wandb
        first = next((before for before in beginning.lines if isinstance(before, StartLine)), line)
        folder = Path(first.folder or beginning.folder)
        is_stage = bool(line.stages)
        self._run = wandb.init(
            project=beginning.options.wandb_project,
            mode="online" if beginning.options.wandb_mode == "online" else "offline",
            dir=beginning.folder,
            id=hashlib.sha256(f"{first.time} {folder}".encode()).hexdigest()[:16],
            resume="allow" if beginning.options.wandb_mode == "online" else None,
            name=f"{folder.parent.name}/{folder.name}" if is_stage else folder.name,
            group=folder.parent.name if is_stage else None,
            config={**beginning.config, "start": _without_kind(line)},
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                x_disable_stats=True,
                init_timeout=LOGIN_SECONDS,
                login_timeout=LOGIN_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        # Its internal log, which prints tracebacks on stderr where the disk is full.
        logging.getLogger("wandb").setLevel(logging.CRITICAL)
        if self._run.disabled:
            raise UserError("nobody is logged in: `wandb login` before, or --logging.wandb_mode=offline")
        self._run.define_metric("*", step_metric="epoch")


def _without_kind(line: LogLine) -> dict[str, Any]:
    return {key: value for key, value in line.to_json().items() if key != "kind"}
