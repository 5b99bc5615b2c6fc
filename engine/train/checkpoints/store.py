"""The checkpoints in a run's folder: one file each, named by epoch and step; the newest few are kept.

`last.pt` and `best.pt` are second names of two of those files (hard links; copies where the file system has none).
They are for users: resume reads the numbered names.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import UserError, describe_os_error
from engine.files import sync_folder
from engine.runs.folder import (
    BEST,
    CHECKPOINTS,
    DAMAGED_SUFFIX,
    LAST,
    checkpoint_name,
    checkpoint_place,
    checkpoints_of,
)
from engine.train.checkpoints import checkpoint_file
from engine.train.checkpoints.checkpoint_file import EpochState

newest, place_of = checkpoints_of, checkpoint_place


def save(folder: Path, state: EpochState, content: dict[str, Any], *, keep: int) -> Path:
    """Write a checkpoint of the run in `folder` and delete all but the `keep` newest; returns its path.

    Raises UserError, as for a full disk.
    """
    path = folder / CHECKPOINTS / checkpoint_name(state.epoch + 1, state.step)
    checkpoint_file.save(path, content)
    _name(path, LAST)
    for old in newest(folder)[keep:]:
        with suppress(FileNotFoundError):
            old.unlink()
    return path


def keep_best(folder: Path) -> None:
    """Name the newest checkpoint best.pt."""
    _name(newest(folder)[0], BEST)


def load_newest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest whole checkpoint and its content; prints a warning for each damaged one before it.

    Raises UserError when there is none.
    """
    paths = newest(folder)
    if not paths:
        raise UserError(
            f"training.resume: {folder / CHECKPOINTS} holds no checkpoint: nothing was saved yet; start the run "
            "again without training.resume"
        )
    damaged: list[Path] = []
    for path in paths:
        try:
            content = checkpoint_file.load(path)
        except UserError as error:
            print(f"warning: {error}; resuming from the one before it", flush=True)
            damaged.append(path)
            continue
        for other in damaged:
            # Under its old name it would stay the newest and hide the checkpoints that are saved from here on.
            other.rename(other.with_suffix(DAMAGED_SUFFIX))
        return path, content
    raise UserError(
        f"training.resume: none of the {len(paths)} checkpoints in {folder / CHECKPOINTS} is whole: start the run "
        "again without training.resume"
    )


def remove_partial(folder: Path) -> None:
    """Remove partial files of a process that was killed while saving. Only for the process that holds the log."""
    for partial in (folder / CHECKPOINTS).glob("*.partial-*"):
        with suppress(OSError):
            partial.unlink()


def _name(path: Path, name: str) -> None:
    """Give the file a second name in its folder, replacing the file that had it."""
    made = path.with_name(f"{name}.partial-{os.getpid()}")
    with suppress(FileNotFoundError):
        made.unlink()
    try:
        try:
            os.link(path, made)
        except OSError:
            shutil.copyfile(path, made)
        os.replace(made, path.with_name(name))
        sync_folder(path.parent)
    except OSError as error:
        raise describe_os_error(error, path.with_name(name), "write") from None
