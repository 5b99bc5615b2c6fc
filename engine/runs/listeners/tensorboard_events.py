"""Event files for TensorBoard (`tensorboard --logdir runs`), in the run's folder `tensorboard`.

Written by the tensorboard package's record writer, one event at a time in the caller's thread: its asynchronous
writer would print a traceback from another thread on a full disk.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from engine.runs.folder import TENSORBOARD, TENSORBOARD_STEPS
from engine.runs.listeners.listener import LISTENERS, Beginning, figures, within_epoch
from engine.runs.log_schema import EpochLine, LogLine, ResultLine, StartLine, StepsLine


@LISTENERS.register("tensorboard")
class TensorBoardEvents:
    """A scalar for each number of an epoch (step: the epoch) and of the result; the settings as text.

    What was logged within epochs (step: the optimizer step) is a separate run there: of a resumed run TensorBoard
    drops what comes again by its step alone, whatever its tag.
    """

    def __init__(self, beginning: Beginning) -> None:
        self._config, self._epoch = beginning.config, 0
        # What was written before comes again from where the run resumes, or all of it where nothing was saved.
        self._folder, self._goes_on = beginning.folder / TENSORBOARD, bool(beginning.lines)
        self._epochs = _EventFile(self._folder)
        self._steps: _EventFile | None = None

    def write(self, line: LogLine) -> None:
        """Raises OSError when the file can't be written."""
        if isinstance(line, StartLine):
            self._begin(line)
        elif isinstance(line, StepsLine):
            self._write_steps(line)
        elif isinstance(line, EpochLine):
            self._epoch = line.epoch
            self._write_figures("epoch", line)
        elif isinstance(line, ResultLine):
            self._write_figures("result", line)
            if line.verdict:
                self._epochs.text(self._epoch, "verdict", line.verdict)
        self._epochs.flush()

    def close(self) -> None:
        """Close the event files."""
        try:
            self._epochs.close()
        finally:
            if self._steps:
                self._steps.close()

    def _begin(self, line: StartLine) -> None:
        """The settings; and of a resumed run, the epochs that come again are dropped."""
        resumed_at = line.resumed_at_epoch
        self._epoch, self._goes_on = int(resumed_at or 0), self._goes_on or resumed_at is not None
        if self._goes_on:
            self._epochs.begin_anew(self._epoch + 1)
        self._epochs.text(self._epoch, "config", _as_code(self._config))
        start = {key: value for key, value in line.to_json().items() if key != "kind"}
        self._epochs.text(self._epoch, "start", _as_code(start))

    def _write_steps(self, line: StepsLine) -> None:
        if line.global_step is None:
            return
        step = line.global_step
        self._steps = self._steps or _EventFile(self._folder / TENSORBOARD_STEPS)
        if self._goes_on:
            # Where it resumes is known only now; the lines of steps come at the same steps again.
            self._steps.begin_anew(step)
            self._goes_on = False
        self._steps.scalars(step, within_epoch(line))
        self._steps.flush()

    def _write_figures(self, group: str, line: LogLine) -> None:
        values = {
            f"{group}/{key}": value for key, value in figures(line).items() if key not in ("epoch", "epochs")
        }
        self._epochs.scalars(self._epoch, values)


class _EventFile:
    """One event file in a folder of its own run, as TensorBoard reads it."""

    def __init__(self, folder: Path) -> None:
        # Whoever does not ask for it need not have it, and it takes a second to import.
        from tensorboard.compat.proto import event_pb2
        from torch.utils.tensorboard import RecordWriter, summary

        self._event, self._summary = event_pb2.Event, summary
        folder.mkdir(exist_ok=True)
        # TensorBoard knows its files by the prefix, and reads them in the order of their names.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = RecordWriter(open(folder / name, "xb"))  # noqa: SIM115 - closed by close()
        self._add(file_version="brain.Event:2")

    def begin_anew(self, step: int) -> None:
        """Whatever earlier files hold from this step on is dropped by whoever reads them."""
        self._add(step=step, session_log={"status": "START"})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        summaries = [self._summary.scalar(tag, value).value[0] for tag, value in values.items()]
        self._add(step=step, summary={"value": summaries})

    def text(self, step: int, tag: str, markdown: str) -> None:
        self._add(step=step, summary=self._summary.text(tag, markdown))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._file.write(event.SerializeToString())


def _as_code(content: dict[str, Any]) -> str:
    """As TensorBoard's Markdown shows text that keeps its lines: each indented by four spaces."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "\n".join(f"    {row}" for row in text.splitlines())
