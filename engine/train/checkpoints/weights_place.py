"""Which file holds the weights that are meant by a run's folder, or by a path of any kind."""

from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.runs.folder import BEST, CHECKPOINTS, CONFIG, LAST, MODEL, WEIGHTS, WEIGHTS_EMA, stages_with


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file of weights and the run that it belongs to."""

    file: Path
    run: Path | None
    is_of_run: bool
    """Whether the run's folder was given, and not the file."""

    @property
    def config(self) -> Path | None:
        """The run's recipe."""
        return self.run / CONFIG if self.run else None

    @property
    def is_average(self) -> bool:
        """Whether all that is in the file is the average of a run's weights."""
        return self.file.name == WEIGHTS_EMA


def find_weights(path: Path, averaged: bool | None = None) -> Place:
    """The file meant by `path`: itself, or of a run's folder the weights that its verdict is about.

    Of a run of several stages the last one's. An unfinished run has its newest checkpoint. Raises UserError where
    there is none.
    """
    if path.is_file():
        above = (path.parent, path.parent.parent) if path.parent.name == CHECKPOINTS else (path.parent,)
        run = next((folder for folder in above if (folder / CONFIG).is_file()), None)
        return Place(file=path, run=run, is_of_run=False)
    if not path.is_dir():
        raise UserError(
            f"{path} does not exist: give a run's folder, such as runs/NAME, or a file of weights"
        )
    finished = {None: (MODEL, WEIGHTS_EMA, WEIGHTS), True: (WEIGHTS_EMA,), False: (WEIGHTS,)}[averaged]
    names = [*finished, f"{CHECKPOINTS}/{LAST}", f"{CHECKPOINTS}/{BEST}"]
    for name in names:
        for folder in [path, *reversed(stages_with(path, name))]:
            if (folder / name).is_file():
                run = folder if (folder / CONFIG).is_file() else None
                return Place(file=folder / name, run=run, is_of_run=True)
    if averaged and (path / WEIGHTS).is_file():
        raise UserError(f"{path} holds no averaged weights ({WEIGHTS_EMA}): leave out --averaged")
    raise UserError(f"{path} holds no {MODEL}, {WEIGHTS} or {CHECKPOINTS}/{LAST}: give a run's folder")
