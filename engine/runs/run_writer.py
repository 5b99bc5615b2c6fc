"""The run folder as the trainer writes it: config.yaml, log.jsonl and report.html.

Each log line is on the disk before the call that gives it returns, so that a run that is killed at any moment
leaves all it knew. Only the first rank writes; on the others the same calls touch no file.
"""

import itertools
import math
import os
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from tqdm import tqdm

from engine.config.load import to_dict
from engine.config.train.train_config import TrainConfig
from engine.errors import UserError
from engine.files import atomic_write
from engine.report.run import run_page
from engine.report.terminal.live import LiveView
from engine.report.terminal.summary import closing_summary, epoch_line
from engine.runs import machine
from engine.runs.listeners import Loggers
from engine.runs.listeners.listener import Beginning
from engine.runs.log_file import LOG_NAME, RunLog, discard_empty
from engine.runs.log_reader import Line, build_history
from engine.train.outlook import Outlook

CONFIG_NAME = "config.yaml"
REPORT_NAME = "report.html"
STAGES_NAME = "stages.yaml"
"""In the folder of a run of several stages: the whole recipe."""


class RunRecord:
    """One run's folder, open for writing (or, with no log, a stand-in that writes nothing)."""

    def __init__(self, folder: Path, config: TrainConfig, recipe: str, log: RunLog | None, lines: list[Line]):
        self.folder = folder
        self._config = to_dict(config)
        # Read back with -C, config.yaml should repeat the run: not resume it, nor want its name.
        self._config["training"]["resume"] = self._config["logging"]["name"] = ""
        self._options = config.logging
        self._loggers: Loggers | None = None
        self._view: LiveView | None = None
        self._recipe = recipe
        self._log = log
        self._lines = lines
        self._watchable = config.logging.log_level >= 1
        self._told_of_steps = False

    @classmethod
    def open(cls, config: TrainConfig, recipe: str, *, writes: bool, begun: bool = False) -> "RunRecord":
        """Make the run's folder, or continue the one that training.resume names; `begun`: the one that logging names.

        On ranks that don't write, `folder` is right only where the configuration names it: the folder of an
        unnamed new run carries the first rank's start time. Raises UserError for a name that is taken, a
        folder that can't be resumed, a full disk and the like.
        """
        begun = begun or bool(config.training.resume)
        folder = Path(config.training.resume or new_folder(config, recipe, free=writes))
        lines: list[Line] = []
        log = None
        if writes and begun:
            log, lines, unreadable = RunLog.go_on(folder)
            if unreadable:
                notice(
                    f"{folder / LOG_NAME}: left out {unreadable} line(s) that are not whole, as a crash leaves them"
                )
        elif writes:
            log = RunLog.begin(folder)
        record = cls(folder, config, recipe, log, lines)
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
    def finished(self) -> bool:
        """Whether the log ends with a result."""
        return build_history(self._lines).result is not None

    def start(self, facts: dict[str, Any]) -> None:
        """Log what is run, on what, with what; `facts` are the trainer's."""
        if self._log is None:
            return
        mine = {
            "versions": machine.versions(),
            "machine": machine.machine(),
            "revision": machine.revision(),
            "command": list(sys.argv),
            "name": self.folder.name,
            "recipe": self._recipe,
            "folder": str(self.folder),
        }
        beginning = Beginning(
            folder=self.folder, config=self._config, options=self._options, lines=[*self._lines]
        )
        self._loggers = Loggers(self._options.also_list(), beginning)
        self._append("start", {**facts, **mine})

    def live(self, outlook: Outlook) -> LiveView:
        """What shows on a terminal how far the run is (the caller closes it), and foresees when it ends.

        To be called after `start`. Nothing is shown on other ranks, and none with log_level 0.
        """
        shown = self._log is not None and self._watchable
        self._view = LiveView(outlook, build_history(self._lines).epochs, shown=shown)
        return self._view

    def steps(self, entry: dict[str, Any]) -> None:
        """Log what the latest steps of an epoch came to; where that can't be written, a notice says so once."""
        if self._log is None:
            return
        if self._view:
            self._view.loss = entry["train_loss"]
        try:
            self._append("steps", entry)
        # Amid an epoch it is not worth the epoch: there may be room again by its end, when the log has to be written.
        except UserError as error:
            if not self._told_of_steps:
                notice(f"{error}; losses within epochs are missing from the log while this lasts")
            self._told_of_steps = True

    def epoch(self, entry: dict[str, Any]) -> None:
        """Log a finished epoch and, unless log_level is 0, show it on the terminal and in the report."""
        if self._log is None:
            return
        self._append("epoch", entry)
        if self._watchable:
            foreseen = self._view.logged(self._lines[-1]) if self._view else ""
            # Above the progress bar, where there is one.
            tqdm.write("  ".join(filter(None, (epoch_line(self._lines[-1]), foreseen))))
            try:
                self._write_report()
            # The log is what counts: a picture of it that can't be drawn must not end hours of training.
            except Exception as error:  # noqa: BLE001
                notice(f"the report could not be renewed after this epoch: {error}")

    def finish(self, result: dict[str, Any]) -> None:
        """Say on the terminal what came out, log it, and write the report; said even if that can't be written."""
        if self._log is None:
            return
        line = _line("result", result)
        print(closing_summary(self._config, [*self._lines, line]), flush=True)
        self._keep(line)
        self._write_report()
        print(f"report     {self.folder / REPORT_NAME}")

    def close(self) -> None:
        """Close the log, and what else was told of it; calling it again does nothing."""
        if self._loggers:
            self._loggers.close()
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, kind: str, facts: dict[str, Any]) -> None:
        self._keep(_line(kind, facts))

    def _keep(self, line: Line) -> None:
        assert self._log is not None
        self._log.write(line)
        self._lines.append(line)
        if self._loggers:
            self._loggers.write(line)

    def _keep_start(self) -> None:
        """What the run started from stays in config.yaml, where going on does not name it again."""
        path = self.folder / CONFIG_NAME
        if path.is_file():
            before = run_page.read_config(path).get("model", {})
            kept = ("weights", "use_ema", "reset_head")
            self._config["model"].update({key: before[key] for key in kept if key in before})

    def _write_config(self) -> None:
        if self._log is None:
            return
        text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
        with atomic_write(self.folder / CONFIG_NAME) as file:
            file.write(text.encode())

    def _write_report(self) -> None:
        with atomic_write(self.folder / REPORT_NAME) as file:
            file.write(run_page.render(self._config, self._lines).encode())


def _line(kind: str, facts: dict[str, Any]) -> Line:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"kind": kind, "time": now, **plain(facts)}


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


def notice(text: str) -> None:
    """A line for the user that is not an error."""
    print(f"notice: {text}", file=sys.stderr, flush=True)


def new_folder(config: TrainConfig, recipe: str, *, free: bool) -> Path:
    """The folder of a new run; one without a name is called after the time, and after nothing that is there if `free`.

    Raises UserError for what is no name.
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
