"""The run folder as the trainer writes it: settings, log and record, and report.html as the display draws it.

Each log line is on the disk before the call that writes it returns, so a run killed at any moment leaves all it knew.
Only the first rank writes; on the others the same calls touch no file.
"""

import itertools
import math
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml
from tqdm import tqdm

from engine.config.load import to_dict
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.files import atomic_write
from engine.runs import machine
from engine.runs.display import Display, LiveBar
from engine.runs.folder import CONFIG, LOG, REPORT
from engine.runs.listeners import Listeners
from engine.runs.listeners.listener import Beginning
from engine.runs.log_file import RunLog, discard_empty
from engine.runs.log_reader import build_history, counts_before, read_config
from engine.runs.log_schema import (
    SCHEMA,
    AlarmLine,
    EpochLine,
    LogLine,
    Machine,
    ReplanLine,
    ResultLine,
    Revision,
    StartLine,
    StepsLine,
)
from engine.runs.record.run_record import record_of, write_record
from engine.runs.time_left import Outlook

Line = TypeVar("Line", bound=LogLine)


class RunWriter:
    """One run's folder, open for writing (or, with no log, a stand-in that writes nothing)."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        recipe: str,
        display: Display,
        log: RunLog | None,
        lines: list[LogLine],
    ) -> None:
        self.folder = folder
        self._config = to_dict(config)
        # Read back with -C, config.yaml should repeat the run: neither resume it nor take its name.
        self._config["training"]["resume"] = self._config["logging"]["name"] = ""
        self._options = config.logging
        self._display = display
        self._listeners: Listeners | None = None
        self._view: LiveBar | None = None
        self._recipe = recipe
        self._log = log
        self._lines = lines
        self._watchable = config.logging.log_level >= 1
        self._steps_reported = False

    @classmethod
    def open(
        cls, config: TrainConfig, recipe: str, *, writes: bool, display: Display, begun: bool = False
    ) -> "RunWriter":
        """Make the run's folder, or continue the one that training.resume names; `begun`: the one that logging names.

        On ranks that don't write, `folder` is right only where the configuration names it: the folder of an
        unnamed new run carries the first rank's start time. Raises UserError for a name that is taken, a
        folder that can't be resumed, a full disk and the like.
        """
        begun = begun or bool(config.training.resume)
        folder = Path(config.training.resume or new_folder(config, recipe, free=writes))
        lines: list[LogLine] = []
        log = None
        if writes and begun:
            log, lines, unreadable = RunLog.resume(folder)
            if unreadable:
                note(f"{folder / LOG}: left out {unreadable} incomplete line(s), as a crash leaves them")
        elif writes:
            log = RunLog.begin(folder)
        record = cls(folder, config, recipe, display, log, lines)
        try:
            if config.training.resume and writes:
                record._keep_start()
            record._write_config()
        except BaseException:
            record.close()
            if writes and not begun:
                discard_empty(folder)
            raise
        return record

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self._recipe

    @property
    def finished(self) -> bool:
        """Whether the log ends with a result."""
        return build_history(self._lines).result is not None

    def start(self, line: StartLine) -> None:
        """Log what is run, on what, with what: `line` is the trainer's, the writer adds machine, versions and names."""
        if self._log is None:
            return
        revision = machine.revision()
        line = line.replaced(
            schema=SCHEMA,
            versions=machine.versions(),
            machine=Machine.from_json(machine.machine()),
            revision=revision and Revision.from_json(revision),
            command=list(sys.argv),
            name=self.folder.name,
            recipe=self._recipe,
            folder=str(self.folder),
        )
        beginning = Beginning(
            folder=self.folder, config=self._config, options=self._options, lines=[*self._lines]
        )
        self._listeners = Listeners(self._options.also_list(), beginning)
        steps = [told for told in self._lines if isinstance(told, StepsLine)]
        self._keep(_stamped(line), counts_before(line, steps))

    def live(self, outlook: Outlook) -> LiveBar:
        """The progress bar of the run, which also computes when it ends; the caller closes it.

        To be called after `start`. Nothing is shown on other ranks, or with log_level 0.
        """
        shown = self._log is not None and self._watchable
        self._view = self._display.live(outlook, build_history(self._lines).epochs, shown=shown)
        return self._view

    def steps(self, line: StepsLine) -> None:
        """Log the latest steps of an epoch; where that can't be written, a note says so once."""
        if self._log is None:
            return
        if self._view:
            self._view.loss = line.train_loss
        try:
            self._keep(_stamped(line))
        # Within an epoch it is not worth the epoch: there may be room again at its end, whose line has to be written.
        except UserError as error:
            if not self._steps_reported:
                note(f"{error}; losses within epochs are missing from the log while this lasts")
            self._steps_reported = True

    def epoch(self, line: EpochLine) -> None:
        """Log a finished epoch and, unless log_level is 0, show it on the terminal and in the report."""
        if self._log is None:
            return
        written = _stamped(line)
        self._keep(written)
        if self._watchable:
            left = self._view.logged(written) if self._view else ""
            # Above the progress bar, where there is one.
            tqdm.write("  ".join(filter(None, (self._display.epoch_words(written), left))))
            self._update_report()

    def replan(self, line: ReplanLine, outlook: Outlook | None = None) -> None:
        """Log a change of the run's length and, unless log_level is 0, show it; `outlook`: the run as it is now.

        Raises UserError where it can't be logged.
        """
        if self._log is None:
            return
        written = _stamped(line)
        self._keep(written)
        if self._view and outlook is not None:
            self._view.replanned(outlook)
        if self._watchable:
            tqdm.write(self._display.replan_words(written))
            self._update_report()

    def keep_timeline(self, timeline: str, validation_every: int) -> None:
        """Write the changes of the run's length into config.yaml, which then repeats the run as it was."""
        if self._log is not None:
            self._config["training"]["timeline"], self._config["budget"]["adapt"] = timeline, False
            self._config["validation"]["every"] = validation_every
            self._write_config()

    def alarm(self, line: AlarmLine) -> None:
        """Log that the accuracy is far below the family's, and warn of it on stderr, also with log_level 0.

        Raises UserError where it can't be logged.
        """
        if self._log is None:
            return
        written = _stamped(line)
        self._keep(written)
        tqdm.write(f"warning: {self._display.alarm_words(written)}", file=sys.stderr)
        sys.stderr.flush()
        if self._watchable:
            self._update_report()

    def finish(self, line: ResultLine) -> None:
        """Print the summary, log the result, write record and report; printed even if the log can't be written."""
        if self._log is None:
            return
        written = _stamped(line)
        print(self._display.summary(self._config, [*self._lines, written]), flush=True)
        self._keep(written)
        record = record_of(self._config, self._lines)
        if record is not None:
            write_record(self.folder, record)
        self._write_report()
        print(f"report     {self.folder / REPORT}")

    def close(self) -> None:
        """Close the log and its listeners; calling it again does nothing."""
        if self._listeners:
            self._listeners.close()
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep(self, line: LogLine, counts: Callable[[LogLine], bool] | None = None) -> None:
        """Log a line; of those before it only the ones stay that `counts` is true of."""
        assert self._log is not None
        if counts is None:
            self._log.write(line.to_json())
        else:
            self._log.write_start(line.to_json(), counts)
            self._lines = [before for before in self._lines if counts(before)]
        self._lines.append(line)
        if self._listeners:
            self._listeners.write(line)

    def _keep_start(self) -> None:
        """Keep in config.yaml what the run started from, which a resumed run does not name again."""
        path = self.folder / CONFIG
        if path.is_file():
            before = read_config(path).get("model", {})
            kept = ("weights", "weights_key", "use_ema", "reset_head")
            self._config["model"].update({key: before[key] for key in kept if key in before})

    def _write_config(self) -> None:
        if self._log is None:
            return
        text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
        with atomic_write(self.folder / CONFIG) as file:
            file.write(text.encode())

    def _update_report(self) -> None:
        try:
            self._write_report()
        # The log is what counts: a picture of it that can't be drawn must not end hours of training.
        except Exception as error:  # noqa: BLE001
            note(f"the report could not be updated: {error}")

    def _write_report(self) -> None:
        with atomic_write(self.folder / REPORT) as file:
            file.write(self._display.page(self._config, self._lines).encode())


def _stamped(line: Line) -> Line:
    """The line as the log will have it, with the time. Raises TypeError for a value of a type its key never has."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return type(line).from_json(plain(line.replaced(time=now).to_json()))


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities become null, tensors and NumPy scalars numbers."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        # A path that is not UTF-8 comes as lone surrogates, which no UTF-8 file can hold.
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, int):
        return value
    return plain(value.item() if hasattr(value, "item") else str(value))


def note(text: str) -> None:
    """A line for the user that is not an error."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def new_folder(config: TrainConfig, recipe: str, *, free: bool) -> Path:
    """The folder of a new run; one without a name gets recipe and start time, and if `free` a name not taken yet.

    Raises UserError for a name that is none of a folder.
    """
    name = config.logging.name or f"{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    if name in (".", "..") or "/" in name:
        raise UserError(f"logging.name: {name!r} is not a folder name: its parent is set by logging.folder")
    folder = Path(config.logging.folder) / name
    return _free_name(folder) if free and not config.logging.name else folder


def _free_name(folder: Path) -> Path:
    """`folder`, or with a number behind it when another run was started within the same second."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([folder], names) if not os.path.lexists(name))
