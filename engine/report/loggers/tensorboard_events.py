"""Event files for TensorBoard (`tensorboard --logdir runs`), in the run's folder `tensorboard`.

Written by the tensorboard package's record writer, one event at a time in the caller's thread: its asynchronous
writer meets a full disk in a thread of its own, which prints a traceback there.
"""

import os
import socket
import time
from typing import Any

import yaml

from engine.report.history import Line
from engine.report.loggers.base import Beginning, figures

FOLDER = "tensorboard"


class TensorBoardEvents:
    """A scalar for each number of an epoch (step: the epoch) and of the result; the settings as text."""

    def __init__(self, beginning: Beginning) -> None:
        # Whoever does not ask for it need not have it, and it takes a second to import.
        from tensorboard.compat.proto import event_pb2
        from torch.utils.tensorboard import RecordWriter, summary

        self._event, self._summary = event_pb2.Event, summary
        self._config, self._epoch = beginning.config, 0
        folder = beginning.folder / FOLDER
        folder.mkdir(exist_ok=True)
        # TensorBoard knows its files by the prefix, and reads them in the order of their names.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = RecordWriter(open(folder / name, "xb"))  # noqa: SIM115 - closed by close()
        self._add(file_version="brain.Event:2")

    def write(self, line: Line) -> None:
        """Raises OSError when the file can't be written."""
        if line.get("kind") == "start":
            self._begin(line)
        elif line.get("kind") == "epoch":
            self._epoch = int(line["epoch"])
            self._scalars("epoch", line)
        elif line.get("kind") == "result":
            self._scalars("result", line)
            if line.get("verdict"):
                self._text("verdict", str(line["verdict"]))
        self._file.flush()

    def close(self) -> None:
        """Close the event file."""
        self._file.close()

    def _begin(self, line: Line) -> None:
        """The settings; and of a run that goes on, TensorBoard drops the epochs that come again."""
        resumed_at = line.get("resumed_at_epoch")
        if resumed_at is not None:
            self._epoch = int(resumed_at)
            self._add(step=self._epoch + 1, session_log={"status": "START"})
        self._text("config", _as_code(self._config))
        self._text("start", _as_code({key: value for key, value in line.items() if key != "kind"}))

    def _scalars(self, group: str, line: Line) -> None:
        values = [
            self._summary.scalar(f"{group}/{key}", value).value[0]
            for key, value in figures(line).items()
            if key not in ("epoch", "epochs")
        ]
        self._add(step=self._epoch, summary={"value": values})

    def _text(self, tag: str, markdown: str) -> None:
        self._add(step=self._epoch, summary=self._summary.text(tag, markdown))

    def _add(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._file.write(event.SerializeToString())


def _as_code(content: dict[str, Any]) -> str:
    """As TensorBoard's Markdown shows text that keeps its lines: each indented by four spaces."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "\n".join(f"    {row}" for row in text.splitlines())
