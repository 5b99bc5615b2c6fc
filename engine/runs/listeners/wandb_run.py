"""A run at Weights & Biases; offline it is kept in the run's folder `wandb`, and `wandb sync` sends it later.

A run that goes on is the same run there: its id is made of when and where it was first begun.
"""

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path

from engine.errors import UserError
from engine.runs.listeners.listener import WITHIN_EPOCH, Beginning, figures
from engine.runs.log_reader import Line

FOLDER = "wandb"
LOGIN_SECONDS, FINISH_SECONDS = 30, 120
"""Most that is waited: for a key and for the server to begin, and for the rest to be sent at the end."""

ROOM = 2**20
"""Bytes of the disk below which nothing is told any more: W&B itself loses what it can't write, without a word."""


class WandbRun:
    """Each epoch's figures over the epoch, with losses between; the result as the run's summary, the settings as its
    configuration."""

    def __init__(self, beginning: Beginning) -> None:
        # Whoever does not ask for it need not have it, and it takes a second to import.
        import wandb

        self._wandb, self._beginning = wandb, beginning
        # Made here: wandb would fall back to the system's temporary folder with a warning.
        self._folder = beginning.folder / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._run: wandb.Run | None = None

    def write(self, line: Line) -> None:
        """Raises OSError on a full disk, and what wandb raises: without a login, a connection, its process."""
        if shutil.disk_usage(self._folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        if line.get("kind") == "start":
            self._begin(line)
        elif self._run is None:
            return
        elif line.get("kind") == "epoch":
            words = {key: value for key, value in line.items() if isinstance(value, str) and key != "kind"}
            self._run.log({**words, **figures(line)})
        elif line.get("kind") == "steps":
            # On the same axis, between the epochs.
            passed = line["epoch"] - 1 + line["step"] / line["steps"]
            self._run.log({"epoch": passed} | {f"steps/{key}": line[key] for key in WITHIN_EPOCH})
        elif line.get("kind") == "result":
            self._run.summary.update({key: value for key, value in line.items() if key != "kind"})

    def close(self) -> None:
        """Write, or send, what is left, and end the process that does it."""
        try:
            if self._run is not None:
                self._run.finish()
        finally:
            # Also where nothing is left to finish: its own hook at exit prints a traceback if its process was killed.
            self._wandb.teardown()

    def _begin(self, line: Line) -> None:
        beginning, wandb = self._beginning, self._wandb
        first = next((before for before in beginning.lines if before.get("kind") == "start"), line)
        folder = Path(str(first.get("folder", beginning.folder)))
        is_stage = bool(line.get("stages"))
        self._run = wandb.init(
            project=beginning.options.wandb_project,
            mode="online" if beginning.options.wandb_mode == "online" else "offline",
            dir=beginning.folder,
            id=hashlib.sha256(f"{first.get('time')} {folder}".encode()).hexdigest()[:16],
            resume="allow" if beginning.options.wandb_mode == "online" else None,
            name=f"{folder.parent.name}/{folder.name}" if is_stage else folder.name,
            group=folder.parent.name if is_stage else None,
            config={**beginning.config, "start": {key: line[key] for key in line if key != "kind"}},
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
        # Its own notes in its folder, told on stderr with a traceback where the disk is full.
        logging.getLogger("wandb").setLevel(logging.CRITICAL)
        if self._run.disabled:
            raise UserError("nobody is logged in: `wandb login` before, or --logging.wandb_mode=offline")
        self._run.define_metric("*", step_metric="epoch")
